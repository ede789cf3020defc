package conformance

import (
	"context"
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
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/gosdk"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mcphttp"
	"github.com/seed34611480/session/requeststate"
)

// startReplicas starts servers that share nothing but one Redis, and returns their addresses. Each serves both eras.
func startReplicas(t *testing.T, n int) []*url.URL {
	t.Helper()
	db := redistest.Start(t)
	urls := make([]*url.URL, n)
	for i := range urls {
		server := httptest.NewServer(newReplica(t, db.Client(t)))
		t.Cleanup(server.Close)
		u, err := url.Parse(server.URL)
		require.NoError(t, err)
		urls[i] = u
	}
	return urls
}

// newReplica returns a server as an application builds it.
func newReplica(t *testing.T, client redis.UniversalClient) http.Handler {
	t.Helper()
	remote := session.NewRedisStorage(client, time.Minute)
	sessions := session.NewRoutingStorage(remote, 1000)
	t.Cleanup(func() { require.NoError(t, sessions.Close()) })
	handle := func(stateless bool) http.Handler {
		server, tasks := newServer(sessions, requeststate.NewStored(remote, requeststate.Anonymous()))
		t.Cleanup(func() {
			require.NoError(t, tasks.Close(context.Background()))
			for s := range server.Sessions() { // that the suite has not ended
				_ = s.Close()
			}
		})
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
			&mcp.StreamableHTTPOptions{Stateless: stateless})
	}
	legacy := mcphttp.NewSessions(sessions, handle(false))
	t.Cleanup(func() { require.NoError(t, legacy.Shutdown(context.Background())) })
	return mcphttp.Era(handle(true), legacy)
}

// newServer returns a server with everything that the suite calls.
func newServer(storage session.Storage, guard requeststate.Guard) (*mcp.Server, *gosdk.Tasks) {
	server := mcp.NewServer(&mcp.Implementation{Name: "everything", Version: "1"}, &mcp.ServerOptions{
		CompletionHandler: complete, SubscribeHandler: subscribe, UnsubscribeHandler: unsubscribe,
	})
	addTools(server)
	addRounds(server)
	addQuestions(server)
	addResources(server)
	addPrompts(server)
	addTasks(server)
	tasks := gosdk.InstallTasks(server, storage, taskTools()...)
	server.AddReceivingMiddleware(gosdk.RequestState(guard))
	return server, tasks
}

// balance starts a balancer, and returns its address. It takes turns among replicas, request by request, but sticks to
// the session ids of the legacy era: a server of that era has its sessions in memory.
func balance(t *testing.T, replicas []*url.URL) string {
	t.Helper()
	var turns atomic.Uint64
	var sticky sync.Map // session id -> replica
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			replica := replicas[turns.Add(1)%uint64(len(replicas))]
			if known, ok := sticky.Load(r.In.Header.Get(sessionHeader)); ok {
				replica = known.(*url.URL)
			}
			r.SetURL(replica)
			r.Out.Host = r.In.Host // replicas look at it
		},
		ModifyResponse: func(r *http.Response) error {
			if id := r.Header.Get(sessionHeader); id != "" {
				sticky.Store(id, &url.URL{Scheme: r.Request.URL.Scheme, Host: r.Request.URL.Host})
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // clients hang up
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else an answer that begins before the request ends may be cut
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const sessionHeader = "Mcp-Session-Id"
