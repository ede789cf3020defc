package mcpgo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// away is a storage that can be taken away, as the network does it.
type away struct {
	*session.MemoryStorage

	down atomic.Bool
}

var errAway = errors.Join(session.ErrUnavailable, errors.New("dial tcp: refused"))

func (a *away) Store(ctx context.Context, s *session.Session) error {
	if a.down.Load() {
		return errAway
	}
	return a.MemoryStorage.Store(ctx, s)
}

func (a *away) Create(ctx context.Context, s *session.Session) error {
	if a.down.Load() {
		return errAway
	}
	return a.MemoryStorage.Create(ctx, s)
}

func (a *away) Load(ctx context.Context, id string) (*session.Session, error) {
	if a.down.Load() {
		return nil, errAway
	}
	return a.MemoryStorage.Load(ctx, id)
}

func (a *away) Delete(ctx context.Context, id string) error {
	if a.down.Load() {
		return errAway
	}
	return a.MemoryStorage.Delete(ctx, id)
}

// newServer returns a server with two tools: "name" says the server's name, "wait" returns when it is told to, or its
// context ends.
func newServer(name string, release <-chan struct{}) *server.MCPServer {
	s := server.NewMCPServer(name, "1", server.WithToolCapabilities(true))
	s.AddTool(mcp.NewTool("name"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(name), nil
	})
	s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-release:
			return mcp.NewToolResultText("released"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return s
}

// byHeader is the owner of a request in tests, which trust a header.
func byHeader(r *http.Request) (string, error) {
	switch user := r.Header.Get("User"); user {
	case "":
		return "", errors.New("no token")
	case "outage":
		return "", errAway
	default:
		return session.Principal("https://issuer.example", user), nil
	}
}

const sessionHeader = server.HeaderKeySessionID

const (
	initializeBody = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":` +
		`{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`
	nameBody   = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"name"}}`
	waitBody   = `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"wait"}}`
	answerBody = `{"jsonrpc":"2.0","id":7,"result":{"role":"assistant"}}`
)

func newRequest(ctx context.Context, method, id, user, body string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, "http://localhost/mcp", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if id != "" {
		r.Header.Set(sessionHeader, id)
	}
	if user != "" {
		r.Header.Set("User", user)
	}
	return r
}

// begin returns the id of a new session.
func begin(t *testing.T, h http.Handler, user string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, newRequest(t.Context(), http.MethodPost, "", user, initializeBody))
	require.Equal(t, http.StatusOK, w.Code)
	require.NotEmpty(t, w.Header().Get(sessionHeader))
	return w.Header().Get(sessionHeader)
}

// open sends a request, and returns the answer when its header is there. A stream ends with its test, or by close.
func open(t *testing.T, h http.Handler, method, id, user, body string) *stream {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	s := &stream{header: make(http.Header), begun: make(chan struct{}), done: make(chan struct{}), close: leave}
	go func() {
		defer close(s.done)
		h.ServeHTTP(s, newRequest(ctx, method, id, user, body))
	}()
	t.Cleanup(func() { leave(); <-s.done })
	<-s.begun
	return s
}

// stream is the client's side of an answer that goes on.
type stream struct {
	header      http.Header
	begun, done chan struct{}
	close       context.CancelFunc

	mu   sync.Mutex
	code int
	body bytes.Buffer
}

func (s *stream) Header() http.Header { return s.header }
func (s *stream) Flush()              {}

func (s *stream) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code == 0 {
		s.code = status
		close(s.begun)
	}
}

func (s *stream) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body.Write(p)
}

func (s *stream) status() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code
}

func (s *stream) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
