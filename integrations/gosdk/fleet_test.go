package gosdk

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// replica is one of a deployment. It shares only Redis with others: it has a connection, a local tier and a server of
// its own.
type replica struct {
	remote   *session.RedisStorage
	sessions *session.RoutingStorage
	addr     string
	lose     func()
	calls    int // of tools, prompts and resources; guarded by fleet.mu
}

// fleet is a round-robin balancer in front of replicas that share a Redis. A client uses it as its transport. It keeps
// a legacy session on its replica, because the SDK keeps it in memory.
type fleet struct {
	replicas []*replica

	mu     sync.Mutex // protects following fields, and replica.calls
	next   int
	sticky map[string]*replica // by session id
}

func newFleet() *fleet { return &fleet{sticky: map[string]*replica{}} }

// startFleet starts three replicas in this process. build makes the server of one, with its storages; change changes
// the options of its connection.
func startFleet(
	t *testing.T, redisAddr string, build func(r *replica) *mcp.Server, change ...func(*redis.Options),
) *fleet {
	t.Helper()
	f := newFleet()
	for range 3 {
		r := newReplica(t, redisAddr, change...)
		web := httptest.NewServer(bothEras(t, build(r)))
		r.addr = web.Listener.Addr().String()
		r.lose = func() {
			web.CloseClientConnections()
			web.Close()
		}
		t.Cleanup(r.lose)
		f.replicas = append(f.replicas, r)
	}
	return f
}

func newReplica(t *testing.T, redisAddr string, change ...func(*redis.Options)) *replica {
	t.Helper()
	options := &redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true}
	for _, f := range change {
		f(options)
	}
	client := redis.NewClient(options)
	r := &replica{remote: session.NewRedisStorage(client, time.Hour)}
	r.sessions = session.NewRoutingStorage(r.remote, 1000)
	t.Cleanup(func() { _, _ = r.sessions.Close(), client.Close() })
	return r
}

// bothEras serves clients of both eras.
func bothEras(t *testing.T, server *mcp.Server) http.Handler {
	t.Helper()
	stateless, stateful := handler(t, server, true), handler(t, server, false)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Mcp-Protocol-Version") >= modern {
			stateless.ServeHTTP(w, req)
		} else {
			stateful.ServeHTTP(w, req)
		}
	})
}

// as returns a client of the fleet that has the token of a user.
func (f *fleet) as(token string) *http.Client { return withToken(token, f.forward) }

func withToken(token string, next roundTripper) *http.Client {
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+token)
		return next(req)
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// forward sends a request to the next replica that runs.
func (f *fleet) forward(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	var resp *http.Response
	var err error
	for range f.replicas {
		r := f.pick(req)
		req.URL.Host, req.Host = r.addr, ""
		req.Body = io.NopCloser(bytes.NewReader(body))
		if resp, err = http.DefaultTransport.RoundTrip(req); err != nil {
			continue // it is gone
		}
		f.mu.Lock()
		if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
			f.sticky[id] = r
		}
		f.mu.Unlock()
		break
	}
	return resp, err
}

func (f *fleet) pick(req *http.Request) *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.sticky[req.Header.Get("Mcp-Session-Id")]
	if !ok {
		r = f.replicas[f.next%len(f.replicas)]
		f.next++
	}
	switch req.Header.Get("Mcp-Method") {
	case "tools/call", "prompts/get", "resources/read":
		r.calls++
	}
	return r
}

// last returns the replica that has got the last request of a client without a session.
func (f *fleet) last() *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[(f.next-1)%len(f.replicas)]
}

// requireSpread checks that each replica has served calls.
func (f *fleet) requireSpread(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.replicas {
		require.Positive(t, r.calls, "calls that reached replica %d", i)
	}
}
