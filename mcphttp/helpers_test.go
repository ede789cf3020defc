package mcphttp

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// brokenStorage is a MemoryStorage whose calls fail while they have an error to fail with.
type brokenStorage struct {
	*session.MemoryStorage

	creates, loads, deletes atomic.Pointer[error]
}

func (b *brokenStorage) Create(ctx context.Context, s *session.Session) error {
	if err := b.creates.Load(); err != nil {
		return *err
	}
	return b.MemoryStorage.Create(ctx, s)
}

func (b *brokenStorage) Load(ctx context.Context, id string) (*session.Session, error) {
	if err := b.loads.Load(); err != nil {
		return nil, *err
	}
	return b.MemoryStorage.Load(ctx, id)
}

func (b *brokenStorage) Delete(ctx context.Context, id string) error {
	if err := b.deletes.Load(); err != nil {
		return *err
	}
	return b.MemoryStorage.Delete(ctx, id)
}

// server is a legacy MCP server, as much of it as these tests need.
type server struct {
	mu       sync.Mutex // protects following fields
	nextID   string
	sessions map[string]bool
	ended    []string      // by DELETE
	deleting int           // the status of the next DELETEs, if it is not 0
	last     *http.Request // that was answered

	// call answers requests of a session.
	call http.HandlerFunc
}

func newServer() *server {
	return &server{nextID: "minted", sessions: make(map[string]bool), call: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "called")
	}}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // before that, net/http does not notice that a client hangs up
	id := r.Header.Get(sessionHeader)
	s.mu.Lock()
	s.last = r
	known, deleting := s.sessions[id], s.deleting
	switch {
	case id == "" && r.Method == http.MethodPost:
		id = s.nextID
		s.sessions[id] = true
		s.mu.Unlock()
		w.Header().Set(sessionHeader, id)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return
	case known && r.Method == http.MethodDelete && deleting == 0:
		delete(s.sessions, id)
		s.ended = append(s.ended, id)
	}
	s.mu.Unlock()
	switch {
	case r.Method == http.MethodDelete && deleting != 0:
		w.WriteHeader(deleting)
	case !known:
		http.Error(w, "session not found", http.StatusNotFound)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.call(w, r)
	}
}

func (s *server) endedSessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *server) lastRequest() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// client sends requests to a handler over HTTP, as the user that it is told.
type client struct {
	t    *testing.T
	http *http.Client
	url  string
}

func newClient(t *testing.T, handler http.Handler) client {
	t.Helper()
	listening := httptest.NewServer(handler)
	t.Cleanup(listening.Close)
	return client{t, listening.Client(), listening.URL}
}

const userHeader = "X-User" // what a middleware has verified

func (c client) send(ctx context.Context, method, id, user string) (*http.Response, error) {
	body := ""
	if method == http.MethodPost {
		body = "{}"
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url, strings.NewReader(body))
	require.NoError(c.t, err)
	if id != "" {
		r.Header.Set(sessionHeader, id)
	}
	if user != "" {
		r.Header.Set(userHeader, user)
	}
	return c.http.Do(r)
}

// reply is an answer that has ended.
type reply struct {
	status int
	header http.Header
	body   string
}

func (c client) do(method, id, user string) reply {
	c.t.Helper()
	answer, err := c.send(c.t.Context(), method, id, user)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	return reply{answer.StatusCode, answer.Header, string(body)}
}

func (c client) requireStatus(status int, method, id, user string) http.Header {
	c.t.Helper()
	got := c.do(method, id, user)
	require.Equal(c.t, status, got.status, got.body)
	if status >= 400 {
		require.NotContains(c.t, got.body, "{", "a client takes a JSON-RPC error for that of one call")
	}
	require.Equal(c.t, status == 503, got.header.Get("Retry-After") != "")
	return got.header
}
