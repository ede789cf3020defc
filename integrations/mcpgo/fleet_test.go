package mcpgo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mcphttp"
)

// fleet is three replicas with a RoutingStorage each, on one Redis.
type fleet struct {
	redis    *redistest.Server
	replicas [3]*process

	mu   sync.Mutex // protects following fields
	next int
	in   []*process // those that get requests
}

// process is what ends with a replica.
type process struct {
	streamable *server.StreamableHTTPServer
	http       *http.Server
	handler    *mcphttp.Sessions
	storage    *session.RoutingStorage
	client     *redis.Client
	served     chan error
	addr       string
	sent       sync.WaitGroup // requests that are not answered yet
}

func startFleet(t *testing.T) *fleet {
	f := &fleet{redis: redistest.Start(t, redistest.WithConfig("appendonly yes", "appendfsync always"))}
	for i, name := range []string{"a", "b", "c"} {
		f.start(t, i, name)
	}
	t.Cleanup(func() {
		for i := range f.replicas {
			f.stop(t, i)
		}
	})
	return f
}

func (f *fleet) start(t *testing.T, i int, name string) {
	c := redis.NewClient(&redis.Options{
		Addr: f.redis.Addr(), ContextTimeoutEnabled: true, DialerRetries: 1,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
	})
	st := session.NewRoutingStorage(session.NewRedisStorage(c, time.Hour), 1000,
		session.WithMaxStaleness(100*time.Millisecond))
	streamable := server.NewStreamableHTTPServer(newServer(name, nil),
		server.WithSessionIdManagerResolver(Resolver()), server.WithSessionIdleTTL(time.Minute))
	h := Handler(st, streamable, mcphttp.WithOwner(byHeader))
	p := &process{
		streamable: streamable, handler: h, storage: st, client: c, served: make(chan error, 1),
		http: &http.Server{Handler: h, ReadHeaderTimeout: time.Second},
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr = listener.Addr().String()
	go func() { p.served <- p.http.Serve(listener) }()
	f.replicas[i] = p
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in = append(f.in, p)
}

// stop is an orderly end: first no request is sent to the replica any more.
func (f *fleet) stop(t *testing.T, i int) {
	p := f.replicas[i]
	f.mu.Lock()
	f.in = slices.DeleteFunc(f.in, func(in *process) bool { return in == p })
	f.mu.Unlock()
	p.sent.Wait() // a connection that Shutdown takes for idle may have a request on its way
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.handler.Shutdown(ctx))
	require.NoError(t, p.http.Shutdown(ctx))
	require.NoError(t, p.streamable.Shutdown(ctx))
	require.ErrorIs(t, <-p.served, http.ErrServerClosed)
	require.NoError(t, p.storage.Close())
	require.NoError(t, p.client.Close())
}

// RoundTrip sends each request to the next replica.
func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.next++
	p := f.in[f.next%len(f.in)]
	p.sent.Add(1)
	f.mu.Unlock()
	defer p.sent.Done()
	r = r.Clone(r.Context())
	r.URL.Host = p.addr
	return http.DefaultTransport.RoundTrip(r)
}

// as is the token of a user on every request. mcp-go's own headers are not on its DELETE.
type as struct {
	*fleet
	user string
}

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User", a.user)
	return a.fleet.RoundTrip(r)
}

// connect returns a client that has not begun a session yet. A legacy client listens to a stream, too.
func (f *fleet) connect(t *testing.T, user string, legacy bool) (*client.Client, *transport.StreamableHTTP) {
	opts := []transport.StreamableHTTPCOption{transport.WithHTTPBasicClient(&http.Client{Transport: as{f, user}})}
	if legacy {
		opts = append(opts, transport.WithContinuousListening()) //nolint:staticcheck // of legacy clients, which this is
	}
	tr, err := transport.NewStreamableHTTP("http://localhost/mcp", opts...)
	require.NoError(t, err)
	c := client.NewClient(tr)
	require.NoError(t, c.Start(context.WithoutCancel(t.Context())))
	t.Cleanup(func() { _ = c.Close() })
	return c, tr
}

func initialize(ctx context.Context, c *client.Client) error {
	_, err := c.Initialize(ctx, mcp.InitializeRequest{})
	return err
}

// ask calls the tool that says which replica has answered.
func ask(ctx context.Context, c *client.Client) (string, error) {
	var request mcp.CallToolRequest
	request.Params.Name = "name"
	result, err := c.CallTool(ctx, request)
	if err != nil {
		return "", err
	}
	text, ok := result.Content[0].(mcp.TextContent)
	if !ok {
		return "", errors.New("no text")
	}
	return text.Text, nil
}

// answerOf sends a call without a client, and returns the status.
func (f *fleet) answerOf(t *testing.T, id, user string) int {
	r := newRequest(t.Context(), http.MethodPost, id, user, nameBody)
	r.RequestURI = ""
	response, err := f.RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

func TestThreeReplicas(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	alice, tr := f.connect(t, "alice", true)
	require.NoError(t, initialize(t.Context(), alice))
	id := tr.GetSessionId()
	require.NotEmpty(t, id)
	seen := make(map[string]int)
	for range 30 {
		name, err := ask(t.Context(), alice)
		require.NoError(t, err)
		seen[name]++
	}
	require.Len(t, seen, 3, "each replica serves the session")
	for range 3 {
		require.Equal(t, http.StatusNotFound, f.answerOf(t, id, "mallory"))
	}
	require.NoError(t, alice.Close()) // sends DELETE to one replica
	require.Eventually(t, func() bool {
		for range 3 {
			if f.answerOf(t, id, "alice") != http.StatusNotFound {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond, "the session is over on all of them")
}

// TestModernClient has a client of the 2026-07-28 protocol, which begins no session.
func TestModernClient(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	c, tr := f.connect(t, "alice", false)
	require.NoError(t, initialize(t.Context(), c))
	for range 6 {
		_, err := ask(t.Context(), c)
		require.NoError(t, err)
	}
	require.Empty(t, tr.GetSessionId())
	size, err := f.redis.Client(t).DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Zero(t, size)
}

func TestSessionsSurviveAnOutage(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	c, tr := f.connect(t, "alice", true)
	require.NoError(t, initialize(t.Context(), c))
	id := tr.GetSessionId()
	_, err := ask(t.Context(), c)
	require.NoError(t, err)

	f.redis.Stop()
	failed := 0
	require.Eventually(t, func() bool {
		if _, err := ask(t.Context(), c); err == nil {
			failed = 0
		} else {
			failed++
		}
		return failed == 3
	}, 10*time.Second, 10*time.Millisecond, "replicas serve their local copies for a while")
	for range 6 {
		_, err = ask(t.Context(), c)
		require.ErrorContains(t, err, "status 503")
		require.Equal(t, id, tr.GetSessionId(), "the client keeps its session")
	}
	late, lateTransport := f.connect(t, "bob", true)
	require.ErrorContains(t, initialize(t.Context(), late), "status 503")
	require.Empty(t, lateTransport.GetSessionId())

	f.redis.Restart()
	for range 3 { // each replica has to find Redis
		require.Eventually(t, func() bool {
			_, err := ask(t.Context(), c)
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
	}
	require.Equal(t, id, tr.GetSessionId(), "the same session")
	require.Eventually(t, func() bool { return initialize(t.Context(), late) == nil }, 10*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, lateTransport.GetSessionId())
}

// TestRollingRestart replaces each replica under load. No call fails, and no client has to begin anew.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	calls := 0
	sessions := make(map[*transport.StreamableHTTP]string)
	for range 8 {
		c, tr := f.connect(t, "alice", true)
		require.NoError(t, initialize(t.Context(), c))
		sessions[tr] = tr.GetSessionId()
		callers.Go(func() {
			for ctx.Err() == nil {
				_, err := ask(t.Context(), c)
				mu.Lock()
				calls++
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	made := func() int {
		mu.Lock()
		defer mu.Unlock()
		return calls
	}
	for i, name := range []string{"a", "b", "c"} {
		f.stop(t, i)
		before := made()
		require.Eventually(t, func() bool { return made() > before+100 }, 20*time.Second, time.Millisecond)
		f.start(t, i, name)
	}
	cancel()
	callers.Wait()
	require.Empty(t, failures)
	require.Greater(t, calls, 300)
	for tr, id := range sessions {
		require.Equal(t, id, tr.GetSessionId())
	}
}

// TestStreamOverTheNetwork ends a session through one replica, and its stream on another one.
func TestStreamOverTheNetwork(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	c, tr := f.connect(t, "alice", true)
	require.NoError(t, initialize(t.Context(), c))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.replicas[0].addr+"/mcp", nil)
	r.RequestURI = ""
	r.Header.Set(sessionHeader, tr.GetSessionId())
	r.Header.Set("User", "alice")
	response, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, f.replicas[1].storage.Delete(t.Context(), tr.GetSessionId()))
	_, err = response.Body.Read(make([]byte, 1)) // returns when the stream ends
	require.Error(t, err)
}
