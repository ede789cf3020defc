package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// newProxy returns a proxy in front of backends with these handlers. The caller may change it before it is used.
func newProxy(t *testing.T, handlers ...http.HandlerFunc) *proxy {
	t.Helper()
	p := &proxy{
		sessions:  session.NewMemoryStorage(time.Hour),
		transport: newTransport(),
		log:       quiet,
		keepAlive: time.Hour / 4,
		running:   t.Context(),
		grace:     10 * time.Second,
	}
	for _, h := range handlers {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		u, err := url.Parse(server.URL)
		require.NoError(t, err)
		p.backends = append(p.backends, u)
	}
	t.Cleanup(p.transport.(*http.Transport).CloseIdleConnections)
	return p
}

// begin stores a session that the first backend holds.
func begin(t *testing.T, p *proxy, id string) {
	t.Helper()
	s := session.New(id).With(backendKey, p.backends[0].String())
	require.NoError(t, p.sessions.Create(t.Context(), s))
}

// send makes a request without a network between client and proxy. Headers are name and value in turn.
func send(t *testing.T, h http.Handler, method, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/mcp", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestNextTakesTurns(t *testing.T) {
	sessions, stateless := make([]int, 2), make([]int, 2)
	backend := func(i int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(versionHeader) != "" {
				stateless[i]++
				return
			}
			sessions[i]++
			w.Header().Set(sessionHeader, session.NewID())
		}
	}
	p := newProxy(t, backend(0), backend(1))
	for range 10 {
		send(t, p, http.MethodPost, "discover", versionHeader, "2026-07-28")
		w := send(t, p, http.MethodPost, "initialize")
		s, err := p.sessions.Load(t.Context(), w.Header().Get(sessionHeader))
		require.NoError(t, err)
		require.NotEmpty(t, s)
	}
	assert.Equal(t, []int{5, 5}, sessions)
	assert.Equal(t, []int{5, 5}, stateless)
}

// failing is a storage without Redis.
type failing struct{ sessions }

func (failing) Create(context.Context, *session.Session) error {
	return fmt.Errorf("create: %w", session.ErrUnavailable)
}

// A session that cannot be created ends at its backend, and its client is asked to try again.
func TestSessionThatCannotBegin(t *testing.T) {
	for name, c := range map[string]struct {
		id      string
		prepare func(t *testing.T, p *proxy)
		status  int
	}{
		"taken": {"taken", func(t *testing.T, p *proxy) {
			require.NoError(t, p.sessions.Create(t.Context(), session.New("taken").With(backendKey, "http://other")))
		}, http.StatusServiceUnavailable},
		"outage": {"new", func(_ *testing.T, p *proxy) {
			p.sessions = failing{p.sessions}
		}, http.StatusServiceUnavailable},
		"invalid": {"an id with spaces", func(*testing.T, *proxy) {}, http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			var ended []string
			p := newProxy(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodDelete {
					ended = append(ended, r.URL.Path, r.Header.Get(sessionHeader), r.Header.Get("Authorization"))
					return
				}
				w.Header().Set(sessionHeader, c.id)
			})
			c.prepare(t, p)
			w := send(t, p, http.MethodPost, "initialize", "Authorization", "Bearer token")

			assert.Equal(t, c.status, w.Code)
			assert.Empty(t, w.Header().Get(sessionHeader))
			assert.Equal(t, c.status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "")
			assert.Equal(t, []string{"/mcp", c.id, "Bearer token"}, ended)
			if s, err := p.sessions.Load(t.Context(), "taken"); err == nil {
				address, _ := s.Get(backendKey)
				assert.Equal(t, "http://other", address, "the session that was there first is unharmed")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	p := newProxy(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	assert.Equal(t, http.StatusNotFound, send(t, p, http.MethodPost, "ping", sessionHeader, "unknown").Code)
	assert.Equal(t, http.StatusBadRequest, send(t, p, http.MethodPost, "ping", sessionHeader, "not valid").Code)
	large := strings.Repeat("x", maxBody+1)
	assert.Equal(t, http.StatusRequestEntityTooLarge, send(t, p, http.MethodPost, large).Code)
	assert.Equal(t, http.StatusOK, send(t, p, http.MethodPost, large[1:]).Code)
	gone := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", io.MultiReader(
		strings.NewReader("half a message"), errorReader{},
	))
	w := httptest.NewRecorder()
	p.ServeHTTP(w, gone)
	assert.Equal(t, http.StatusBadRequest, w.Code)
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
