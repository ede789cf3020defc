package conformance

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/gosdk"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mcphttp"
	"github.com/seed34611480/session/requeststate"
)

// part is what a replica has of the state of all.
type part struct {
	sessions session.Storage
	guard    requeststate.Guard
}

// shared returns parts that are views of one Redis.
func shared(t *testing.T, n int) []part {
	t.Helper()
	db := redistest.Start(t)
	parts := make([]part, n)
	for i := range parts {
		remote := session.NewRedisStorage(db.Client(t), time.Minute)
		local := session.NewRoutingStorage(remote, 1000)
		t.Cleanup(func() { require.NoError(t, local.Close()) })
		parts[i] = part{local, requeststate.NewStored(remote, requeststate.Anonymous())}
	}
	return parts
}

// separate returns parts that share nothing but a key.
func separate(t *testing.T, n int) []part {
	t.Helper()
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	keys, err := session.NewKeyRing(session.Key{ID: "a", Secret: secret})
	require.NoError(t, err)
	parts := make([]part, n)
	for i := range parts {
		memory := session.NewMemoryStorage(time.Minute)
		parts[i] = part{memory, requeststate.NewSealed(keys, requeststate.Anonymous())}
	}
	return parts
}

// startReplicas starts a server for each part, and returns their addresses.
func startReplicas(t *testing.T, parts []part) []*url.URL {
	t.Helper()
	urls := make([]*url.URL, len(parts))
	for i, p := range parts {
		urls[i] = serve(t, newReplica(t, p))
	}
	return urls
}

func serve(t *testing.T, handler http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	return u
}

// newReplica returns a server for both eras, as an application builds it.
func newReplica(t *testing.T, p part) http.Handler {
	t.Helper()
	handle := func(stateless bool) http.Handler {
		server, tasks := newServer(p)
		t.Cleanup(func() {
			require.NoError(t, tasks.Close(context.Background()))
			for s := range server.Sessions() { // that the suite has not ended
				_ = s.Close()
			}
		})
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
			&mcp.StreamableHTTPOptions{Stateless: stateless})
	}
	legacy := mcphttp.NewSessions(p.sessions, handle(false))
	t.Cleanup(func() { require.NoError(t, legacy.Shutdown(context.Background())) })
	return mcphttp.Era(handle(true), legacy)
}

// startProxies starts proxies in front of replicas, and returns their addresses.
func startProxies(t *testing.T, n int, replicas []*url.URL) []*url.URL {
	t.Helper()
	urls := make([]*url.URL, n)
	for i, p := range shared(t, n) {
		proxy := mcphttp.NewProxy(p.sessions, replicas)
		urls[i] = serve(t, proxy)
		t.Cleanup(func() { require.NoError(t, proxy.Shutdown(context.Background())) })
	}
	return urls
}

// newServer returns a server with everything that the suite calls.
func newServer(p part) (*mcp.Server, *gosdk.Tasks) {
	server := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "1"}, &mcp.ServerOptions{
		CompletionHandler: complete, SubscribeHandler: subscribe, UnsubscribeHandler: unsubscribe,
	})
	addTools(server)
	addRounds(server)
	addQuestions(server)
	addResources(server)
	addPrompts(server)
	addTasks(server)
	tasks := gosdk.InstallTasks(server, p.sessions, taskTools()...)
	server.AddReceivingMiddleware(gosdk.RequestState(p.guard))
	return server, tasks
}

// balance starts a balancer, and returns its address. It takes turns, request by request. If it sticks, the requests of
// a session of the legacy era go to one server, which has it in memory.
func balance(t *testing.T, servers []*url.URL, sticks bool) string {
	t.Helper()
	var turns atomic.Uint64
	var places sync.Map // session id -> server
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			server := servers[turns.Add(1)%uint64(len(servers))]
			if known, ok := places.Load(r.In.Header.Get(sessionHeader)); ok {
				server = known.(*url.URL)
			}
			r.SetURL(server)
			r.Out.Host = r.In.Host // servers look at it
		},
		ModifyResponse: func(r *http.Response) error {
			if id := r.Header.Get(sessionHeader); id != "" && sticks {
				places.Store(id, &url.URL{Scheme: r.Request.URL.Scheme, Host: r.Request.URL.Host})
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // clients hang up
	}
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else an answer that begins before the request ends may be cut
		proxy.ServeHTTP(w, r)
	})).String()
}

const sessionHeader = "Mcp-Session-Id"
