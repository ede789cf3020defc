package mcphttp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// peer is a backend that answers both eras, and says which one it is. Its tasks have ids of the client's choice.
type peer struct {
	*httptest.Server

	name   string
	events bool             // it answers with events
	handle http.HandlerFunc // nil: as described

	mu       sync.Mutex // protects following fields
	sessions map[string]bool
	last     *http.Request
}

func startPeer(t testing.TB, name string) *peer {
	s := &peer{name: name, sessions: make(map[string]bool)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if s.handle != nil {
		s.handle(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	id := r.Header.Get(sessionHeader)
	switch {
	case r.Header.Get(versionHeader) == modernSince:
		s.modern(w, r, body)
	case id == "":
		id = session.NewID()
		s.sessions[id] = true
		w.Header().Set(sessionHeader, id)
		fmt.Fprint(w, s.name)
	case !s.sessions[id]:
		http.Error(w, "unknown", http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.sessions, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprint(w, s.name)
	}
}

func (s *peer) modern(w http.ResponseWriter, r *http.Request, body []byte) {
	answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","server":%q}}`, s.name)
	if task := text(member(body, "params", "task")); r.Header.Get(methodHeader) == callMethod && task != "" {
		answer = fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":%q}}`, task)
	}
	if s.events {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, ": begins\n\ndata: %s\n\n", answer)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, answer)
}

func (s *peer) parsed(t testing.TB) *url.URL {
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return u
}

func (s *peer) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

func (s *peer) lastRequest() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *peer) isEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions) == 0
}

func (s *peer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = nil
}

// restart starts it again where it was, without its sessions.
func (s *peer) restart(t testing.TB) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	s.sessions = make(map[string]bool)
	s.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s}}
	s.Start()
	t.Cleanup(s.Close)
}

// startProxy starts a replica.
func startProxy(t testing.TB, st session.Storage, peers []*peer, opts ...ProxyOption) (*Proxy, string) {
	var backends []*url.URL
	for _, s := range peers {
		backends = append(backends, s.parsed(t))
	}
	p := NewProxy(st, backends, opts...)
	front := httptest.NewServer(p)
	t.Cleanup(func() {
		require.NoError(t, p.Shutdown(context.Background()))
		front.Close()
	})
	return p, front.URL
}

func startPeers(t testing.TB, n int) []*peer {
	var peers []*peer
	for i := range n {
		peers = append(peers, startPeer(t, string(rune('a'+i))))
	}
	return peers
}

func startStorage() *session.MemoryStorage {
	return session.NewMemoryStorage(time.Hour)
}

// outcome is what a client sees.
type outcome struct {
	status int
	header http.Header
	body   string
	err    error // the body broke off
}

// ask sends a request. The headers are pairs.
func send(t testing.TB, method, to, body string, headers ...string) outcome {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return outcome{resp.StatusCode, resp.Header, string(b), err}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize"}`

// begin begins a session, and returns its id and the name of its server.
func begin(t testing.TB, proxy string, headers ...string) (id, name string) {
	t.Helper()
	got := send(t, http.MethodPost, proxy, initialize, headers...)
	require.Equal(t, http.StatusOK, got.status, got.body)
	return got.header.Get(sessionHeader), got.body
}

// call sends a request of the modern era, and returns the result.
func call(t testing.TB, proxy, method, params string, headers ...string) (outcome, map[string]any) {
	t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":%s}`, method, params)
	got := send(t, http.MethodPost, proxy, body,
		append([]string{versionHeader, modernSince, methodHeader, method}, headers...)...)
	var message struct {
		Result map[string]any `json:"result"`
		Error  map[string]any `json:"error"`
	}
	_, data, isEvents := strings.Cut(got.body, "data: ")
	if !isEvents {
		data = got.body
	}
	_ = json.Unmarshal([]byte(data), &message)
	if message.Error != nil {
		return got, message.Error
	}
	return got, message.Result
}
