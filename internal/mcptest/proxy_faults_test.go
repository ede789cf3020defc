package mcptest

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mcphttp"
)

// eachProxied runs a test for each SDK's backends with each SDK's client of each era.
func eachProxied(t *testing.T, test func(t *testing.T, sdk, client string)) {
	t.Helper()
	for sdk := range newBackend {
		for client := range connect {
			t.Run(sdk+", "+client, func(t *testing.T) { test(t, sdk, client) })
		}
	}
}

func requireHello(t *testing.T, c client) {
	t.Helper()
	got, err := c.call(t.Context(), "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", got)
}

// awaitHello calls until it works, with a new client whenever the present one has lost its session.
func awaitHello(t *testing.T, s *site, name string) {
	t.Helper()
	realtest.Await(t, "a call", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := connect[name](ctx, t, s.url)
		if err != nil {
			return false
		}
		got, err := c.call(ctx, "hello")
		return err == nil && got == "hello"
	})
}

func TestClientThatGoesAway(t *testing.T) {
	eachProxied(t, func(t *testing.T, sdk, name string) {
		s := startSite(t, sdk, session.NewMemoryStorage(time.Minute))
		c, err := connect[name](t.Context(), t, s.url)
		require.NoError(t, err)
		ctx, hangUp := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = c.call(ctx, "wait")
		}()
		realtest.Await(t, "the call", func() bool { return s.waiting() == 1 })
		hangUp()
		<-ended
		// A legacy client says so in another request. go-sdk's server does not tell a call that its client has gone.
		realtest.Await(t, "its end in the backend", func() bool { return s.gone.Load() > 0 || s.waiting() == 0 })
		if sdk == "mcp-go" && name == "go-sdk modern" {
			// mcp-go refuses go-sdk's notifications/cancelled, which go-sdk takes for the end, with a proxy and without.
			c, err = connect[name](t.Context(), t, s.url)
			require.NoError(t, err)
		}
		requireHello(t, c)
		for _, b := range s.backends {
			b.end()
		}
	})
}

func TestReplicaThatStops(t *testing.T) {
	eachProxied(t, func(t *testing.T, sdk, name string) {
		s := startSite(t, sdk, session.NewMemoryStorage(time.Minute))
		c, err := connect[name](t.Context(), t, s.url)
		require.NoError(t, err)
		id := c.sessionID()
		for range 2 {
			requireHello(t, c)
		}
		s.up.Store(1) // a rolling restart: the balancer first,
		require.NoError(t, s.replicas[1].Shutdown(t.Context()))
		for range 4 {
			requireHello(t, c)
		}
		require.Equal(t, id, c.sessionID())
	})
}

func TestBackendThatIsKilled(t *testing.T) {
	eachProxied(t, func(t *testing.T, sdk, name string) {
		s := startSite(t, sdk, session.NewMemoryStorage(time.Minute), mcphttp.WithDeadAfter(200*time.Millisecond))
		c, err := connect[name](t.Context(), t, s.url)
		require.NoError(t, err)
		requireHello(t, c)
		killed, id := s.servers[0], c.sessionID()
		if id != "" && s.backends[0].sessions() == 0 {
			killed = s.servers[1]
		}
		killed.CloseClientConnections()
		killed.Close()
		awaitHello(t, s, name)
		if id == "" {
			requireHello(t, c) // once the proxy knows that one is gone, its clients notice nothing
			return
		}
		realtest.Await(t, "the end of the session", func() bool { return statusOf(t, s.url, id) == http.StatusNotFound })
		_, err = c.call(t.Context(), "hello")
		require.Error(t, err)
	})
}

// statusOf returns the status of a ping in a session.
func statusOf(t *testing.T, url, id string) int {
	t.Helper()
	body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Mcp-Session-Id", id)
	answer, err := newTransport(t).RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}

func TestStorageThatIsAway(t *testing.T) {
	server := redistest.Start(t)
	link := netfault.Start(t, server.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: link.Addr(), DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, MaxRetries: -1,
		ContextTimeoutEnabled: true, DialerRetries: 1,
	})
	t.Cleanup(func() { _ = client.Close() })
	st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Minute), 100,
		session.WithMaxStaleness(300*time.Millisecond))
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	eachProxied(t, func(t *testing.T, sdk, name string) {
		s := startSite(t, sdk, st)
		c, err := connect[name](t.Context(), t, s.url)
		require.NoError(t, err)
		id := c.sessionID()
		requireHello(t, c)
		link.Refuse()
		link.Reset()
		if id == "" {
			requireHello(t, c) // it needs no storage
		} else {
			realtest.Await(t, "an error", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := c.call(ctx, "hello")
				return err != nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err = connect[name](ctx, t, s.url)
			require.Error(t, err, "no session without a storage")
		}
		require.NoError(t, link.Accept())
		realtest.Await(t, "the same session", func() bool {
			got, err := c.call(t.Context(), "hello")
			return err == nil && got == "hello"
		})
		require.Equal(t, id, c.sessionID())
	})
}
