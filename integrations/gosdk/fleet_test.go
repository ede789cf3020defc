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

// replica is one process of a deployment, as far as it matters: it has a server, a local tier and a connection to Redis
// of its own.
type replica struct {
	remote   *session.RedisStorage
	sessions *session.RoutingStorage
	web      *httptest.Server
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

// startFleet starts three replicas. build adds what a server has, with the storages of its replica.
func startFleet(t *testing.T, addr string, build func(r *replica) *mcp.Server) *fleet {
	t.Helper()
	f := &fleet{sticky: map[string]*replica{}}
	for range 3 {
		client := redis.NewClient(&redis.Options{
			Addr: addr, ContextTimeoutEnabled: true, DialTimeout: 200 * time.Millisecond,
			ReadTimeout: 200 * time.Millisecond, DialerRetries: 1,
		})
		r := &replica{remote: session.NewRedisStorage(client, time.Hour)}
		r.sessions = session.NewRoutingStorage(r.remote, 1000)
		t.Cleanup(func() { _, _ = r.sessions.Close(), client.Close() })
		stateless, stateful := handler(t, build(r), true), handler(t, build(r), false)
		r.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Mcp-Protocol-Version") >= modern {
				stateless.ServeHTTP(w, req)
			} else {
				stateful.ServeHTTP(w, req)
			}
		}))
		t.Cleanup(r.web.Close)
		t.Cleanup(r.web.CloseClientConnections)
		f.replicas = append(f.replicas, r)
	}
	return f
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
		req.URL.Host, req.Host = r.web.Listener.Addr().String(), ""
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

// requireSpread checks that each replica has served calls.
func (f *fleet) requireSpread(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.replicas {
		require.Positive(t, r.calls, "calls that reached replica %d", i)
	}
}
