package mcpgo

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// single returns a replica whose sessions have no owner, and what releases its tool.
func single(st session.Storage) (http.Handler, chan struct{}) {
	release := make(chan struct{})
	s := server.NewStreamableHTTPServer(newServer("a", release), server.WithSessionIdManagerResolver(Resolver()))
	return Handler(st, s), release
}

func statusOf(t *testing.T, h http.Handler, method, id, user, body string) int {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), method, id, user, body))
	return w.Code
}

// TestReplicaLeaves has mcp-go clean up in the three ways that it has. The session is still good on another replica.
func TestReplicaLeaves(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*testing.T, *server.StreamableHTTPServer){
		"Shutdown": func(t *testing.T, s *server.StreamableHTTPServer) {
			require.NoError(t, s.Shutdown(t.Context()))
		},
		"CloseSessions": func(t *testing.T, s *server.StreamableHTTPServer) { s.CloseSessions(t.Context()) },
		"sweeper": func(t *testing.T, _ *server.StreamableHTTPServer) {
			time.Sleep(5 * time.Minute)
			synctest.Wait()
		},
	} {
		for kind, want := range map[string]int{"naive": 404, "ours": 200} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					st := session.NewMemoryStorage(time.Hour)
					var resolver server.SessionIdManagerResolver = naive{st, nil}
					if kind == "ours" {
						resolver = Resolver()
					}
					s := server.NewStreamableHTTPServer(newServer("a", nil),
						server.WithSessionIdManagerResolver(resolver), server.WithSessionIdleTTL(time.Minute))
					var first http.Handler = s
					if kind == "ours" {
						first = Handler(st, s, mcphttp.WithOwner(byHeader))
					}
					id := begin(t, first, "alice")
					leave(t, s)
					require.Equal(t, want, statusOf(t, ours(st), http.MethodPost, id, "alice", nameBody))
					require.NoError(t, s.Shutdown(t.Context()))
				})
			})
		}
	}
}

func TestStreamKeepsItsSessionAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(time.Minute)
		h, _ := single(st)
		listens, silent := begin(t, h, ""), begin(t, h, "")
		s := open(t, h, http.MethodGet, listens, "", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.False(t, s.ended())
		require.Equal(t, 200, statusOf(t, h, http.MethodPost, listens, "", nameBody))
		require.Equal(t, 404, statusOf(t, h, http.MethodPost, silent, "", nameBody))

		// The session ends through another replica.
		require.NoError(t, st.Delete(t.Context(), listens))
		<-s.done
		require.Equal(t, 404, statusOf(t, h, http.MethodGet, listens, "", ""))
	})
}

func TestStreamEndsWithExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(time.Minute, session.WithMaxLifetime(8*time.Hour))
		h, _ := single(st)
		begun := time.Now()
		s := open(t, h, http.MethodGet, begin(t, h, ""), "", "")
		<-s.done
		require.Equal(t, 8*time.Hour, time.Since(begun).Truncate(time.Minute))
	})
}

func TestLongCall(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		end  func(t *testing.T, st *session.RoutingStorage, id string, release chan struct{})
		want int
	}{
		"goes on": {func(_ *testing.T, _ *session.RoutingStorage, _ string, release chan struct{}) { close(release) }, 200},
		"session is deleted": {func(t *testing.T, st *session.RoutingStorage, id string, _ chan struct{}) {
			require.NoError(t, st.Delete(t.Context(), id))
		}, 404},
		"storage is closed": {func(t *testing.T, st *session.RoutingStorage, _ string, _ chan struct{}) {
			require.NoError(t, st.Close())
		}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := session.NewRoutingStorage(session.NewMemoryStorage(10*time.Second), 100)
				defer st.Close()
				h, release := single(st)
				id := begin(t, h, "")
				w, done := httptest.NewRecorder(), make(chan struct{})
				go func() {
					defer close(done)
					h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, id, "", waitBody))
				}()
				time.Sleep(time.Hour)
				synctest.Wait()
				_, err := st.Peek(t.Context(), id)
				require.NoError(t, err, "the call keeps it alive")
				row.end(t, st, id, release)
				<-done
				require.Equal(t, row.want, w.Code)
			})
		})
	}
}
