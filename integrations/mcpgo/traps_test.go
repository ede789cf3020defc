package mcpgo

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// TestTraps has what mcp-go answers when its manager asks a storage (naive), and what it answers here. A row whose
// first number is no longer true is a trap that mcp-go has closed.
func TestTraps(t *testing.T) {
	t.Parallel()
	const live, none, ended, invented = "live", "none", "ended", "invented"
	for _, row := range []struct {
		name        string
		down        bool
		method, id  string
		user, body  string
		naive, ours int
	}{
		{"call", false, http.MethodPost, live, "alice", nameBody, 200, 200},
		{"call in an outage", true, http.MethodPost, live, "alice", nameBody, 404, 503},
		{"call of an ended session", false, http.MethodPost, ended, "alice", nameBody, 404, 404},
		{"call without an id", false, http.MethodPost, none, "alice", nameBody, 404, 400},
		{"call of a stranger", false, http.MethodPost, live, "mallory", nameBody, 404, 404},
		{"call without a token", false, http.MethodPost, live, "", nameBody, 404, 401},
		{"call, tokens cannot be checked", false, http.MethodPost, live, "outage", nameBody, 404, 503},
		{"answer in an outage", true, http.MethodPost, live, "alice", answerBody, 404, 503},
		{"answer on the wrong replica", false, http.MethodPost, live, "alice", answerBody, 404, 400},
		{"initialize", false, http.MethodPost, none, "alice", initializeBody, 200, 200},
		{"initialize in an outage", true, http.MethodPost, none, "alice", initializeBody, 200, 503},
		{"initialize without a token", false, http.MethodPost, none, "", initializeBody, 200, 401},
		{"stream", false, http.MethodGet, live, "alice", "", 200, 200},
		{"stream in an outage", true, http.MethodGet, live, "alice", "", 200, 503},
		{"stream of an ended session", false, http.MethodGet, ended, "alice", "", 200, 404},
		{"stream of an invented session", false, http.MethodGet, invented, "alice", "", 200, 404},
		{"stream without an id", false, http.MethodGet, none, "alice", "", 200, 400},
		{"stream of a stranger", false, http.MethodGet, live, "mallory", "", 200, 404},
		{"delete", false, http.MethodDelete, live, "alice", "", 200, 204},
		{"delete in an outage", true, http.MethodDelete, live, "alice", "", 500, 503},
		{"delete of an ended session", false, http.MethodDelete, ended, "alice", "", 500, 404},
		{"delete by a stranger", false, http.MethodDelete, live, "mallory", "", 500, 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for kind, want := range map[string]int{"naive": row.naive, "ours": row.ours} {
				st := &away{MemoryStorage: session.NewMemoryStorage(time.Hour)}
				other := ours(st) // the replica where the sessions have begun
				ids := map[string]string{
					live: begin(t, other, "alice"), ended: begin(t, other, "alice"), invented: session.NewID(),
				}
				require.NoError(t, st.Delete(t.Context(), ids[ended]))
				st.down.Store(row.down)
				h := ours(st)
				if kind == "naive" {
					h = server.NewStreamableHTTPServer(newServer("a", nil), server.WithSessionIdManagerResolver(naive{st, nil}))
				}
				require.Equal(t, want, open(t, h, row.method, ids[row.id], row.user, row.body).status(), kind)
			}
		})
	}
}

// ours is a replica whose sessions have owners.
func ours(st session.Storage) http.Handler {
	s := server.NewStreamableHTTPServer(newServer("a", nil), server.WithSessionIdManagerResolver(Resolver()))
	return Handler(st, s, mcphttp.WithOwner(byHeader))
}

// naive is a resolver and manager as mcp-go invites to write it: it does all that its methods allow.
type naive struct {
	st session.Storage
	r  *http.Request
}

func (n naive) ResolveSessionIdManager(r *http.Request) server.SessionIdManager { //nolint:revive // mcp-go's name
	if r == nil {
		r = httptest.NewRequestWithContext(context.Background(), "", "/", nil)
		r.Header.Set("User", "alice")
	}
	return naive{n.st, r}
}

func (n naive) Generate() string {
	owner, err := byHeader(n.r)
	if err != nil {
		return ""
	}
	s := session.New(session.NewID()).WithPrincipal(owner)
	if n.st.Store(n.r.Context(), s) != nil {
		return ""
	}
	return s.ID()
}

func (n naive) Validate(id string) (bool, error) {
	owner, err := byHeader(n.r)
	if err == nil {
		_, err = session.LoadOwned(n.r.Context(), n.st, id, owner)
	}
	return false, err
}

func (n naive) Terminate(id string) (bool, error) {
	if _, err := n.Validate(id); err != nil {
		return false, err
	}
	return false, n.st.Delete(n.r.Context(), id)
}

func TestAnswersThatClientsUnderstand(t *testing.T) {
	t.Parallel()
	st := &away{MemoryStorage: session.NewMemoryStorage(time.Hour)}
	h := ours(st)
	id := begin(t, h, "alice")

	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, session.NewID(), "alice", nameBody))
	require.Equal(t, http.StatusNotFound, w.Code)
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"), "JSON-RPC would not end it")
	require.Empty(t, w.Header().Get("Retry-After"))

	st.down.Store(true)
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		w = httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(t.Context(), method, id, "alice", nameBody))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.NotContains(t, w.Body.String(), id)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, "", "alice", initializeBody))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Empty(t, w.Header().Get(sessionHeader))
	require.NotContains(t, w.Body.String(), "jsonrpc", "nothing of mcp-go's answer")

	st.down.Store(false)
	w = httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, id, "alice", nameBody))
	require.Equal(t, http.StatusOK, w.Code, "the session has survived")
}

func TestStrangerEndsNoSession(t *testing.T) {
	t.Parallel()
	h := ours(session.NewMemoryStorage(time.Hour))
	id := begin(t, h, "alice")
	for user, want := range map[string]int{"mallory": 404, "": 401} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(t.Context(), http.MethodDelete, id, user, ""))
		require.Equal(t, want, w.Code)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, id, "alice", nameBody))
	require.Equal(t, http.StatusOK, w.Code)
}

// TestStreamedInitialize has a hook that sends a notification, whereupon mcp-go streams its answer, and leaves out the
// session id.
func TestStreamedInitialize(t *testing.T) {
	t.Parallel()
	var s *server.MCPServer
	hooks := &server.Hooks{}
	hooks.AddBeforeInitialize(func(ctx context.Context, _ any, _ *mcp.InitializeRequest) {
		server.ClientSessionFromContext(ctx).Initialize()
		_ = s.SendNotificationToClient(ctx, "notifications/message", map[string]any{"data": "welcome"})
	})
	s = server.NewMCPServer("a", "1", server.WithHooks(hooks))
	st := session.NewMemoryStorage(time.Hour)
	for want, h := range map[bool]http.Handler{
		false: server.NewStreamableHTTPServer(s, server.WithSessionIdManagerResolver(naive{st, nil})),
		true: Handler(st, server.NewStreamableHTTPServer(s, server.WithSessionIdManagerResolver(Resolver())),
			mcphttp.WithOwner(byHeader)),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, "", "alice", initializeBody))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
		id := w.Header().Get(sessionHeader)
		require.Equal(t, want, id != "")
		if want {
			require.Equal(t, http.StatusOK, statusOf(t, ours(st), http.MethodPost, id, "alice", nameBody), "it is stored")
		}
	}
}

func TestModernRequestsPass(t *testing.T) {
	t.Parallel()
	st := &away{MemoryStorage: session.NewMemoryStorage(time.Hour)}
	st.down.Store(true) // it is not asked
	h := ours(st)
	r := newRequest(t.Context(), http.MethodPost, "stray", "alice",
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":`+
			`{"name":"name","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
			`"io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},`+
			`"io.modelcontextprotocol/clientCapabilities":{}}}}`)
	r.Header.Set(mcp.HeaderProtocolVersion, "2026-07-28")
	r.Header.Set("Mcp-Method", "tools/call")
	r.Header.Set("Mcp-Name", "name")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r := newRequest(t.Context(), method, "", "alice", "")
		r.Header.Set(mcp.HeaderProtocolVersion, "2026-07-28")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	}
}

func TestPanics(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	require.Panics(t, func() { Handler(nil, &server.StreamableHTTPServer{}) })
	require.Panics(t, func() { Handler(st, nil) })
}

// TestAroundTheHandler has a request that reaches the server on a way of its own.
func TestAroundTheHandler(t *testing.T) {
	t.Parallel()
	s := server.NewStreamableHTTPServer(newServer("a", nil), server.WithSessionIdManagerResolver(Resolver()))
	id := begin(t, Handler(session.NewMemoryStorage(time.Hour), s), "")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, "", "", initializeBody))
	require.Empty(t, w.Header().Get(sessionHeader))
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		w = httptest.NewRecorder()
		s.ServeHTTP(w, newRequest(t.Context(), method, id, "", nameBody))
		require.GreaterOrEqual(t, w.Code, 400)
	}
}
