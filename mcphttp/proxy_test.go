package mcphttp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// server is a backend that answers both eras, and says which one it is. Its tasks have ids of the client's choice.
type server struct {
	*httptest.Server

	name string

	mu       sync.Mutex // protects following fields
	sessions map[string]bool
	last     *http.Request    // with its body
	events   bool             // it answers with events
	handle   http.HandlerFunc // nil: as described
}

func startServer(t testing.TB, name string) *server {
	s := &server{name: name, sessions: make(map[string]bool)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	id := r.Header.Get(sessionHeader)
	switch {
	case s.handle != nil:
		s.handle(w, r)
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

func (s *server) modern(w http.ResponseWriter, r *http.Request, body []byte) {
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

func (s *server) parsed(t testing.TB) *url.URL {
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return u
}

func (s *server) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

func (s *server) lastRequest() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// startProxy starts a replica.
func startProxy(t testing.TB, st session.Storage, servers []*server, opts ...ProxyOption) (*Proxy, string) {
	var backends []*url.URL
	for _, s := range servers {
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

func startServers(t testing.TB, n int) []*server {
	var servers []*server
	for i := range n {
		servers = append(servers, startServer(t, string(rune('a'+i))))
	}
	return servers
}

func startStorage() *session.MemoryStorage {
	return session.NewMemoryStorage(time.Hour)
}

// answer is what a client sees.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // the body broke off
}

// ask sends a request. The headers are pairs.
func ask(t testing.TB, method, to, body string, headers ...string) answer {
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
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize"}`

// begin begins a session, and returns its id and the name of its server.
func begin(t testing.TB, proxy string, headers ...string) (id, name string) {
	t.Helper()
	got := ask(t, http.MethodPost, proxy, initialize, headers...)
	require.Equal(t, http.StatusOK, got.status, got.body)
	return got.header.Get(sessionHeader), got.body
}

// call sends a request of the modern era, and returns the result.
func call(t testing.TB, proxy, method, params string, headers ...string) (answer, map[string]any) {
	t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":%s}`, method, params)
	got := ask(t, http.MethodPost, proxy, body,
		append([]string{versionHeader, modernSince, methodHeader, method}, headers...)...)
	var message struct {
		Result map[string]any
		Error  map[string]any
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

func TestSessionsAreRouted(t *testing.T) {
	t.Parallel()
	st, servers := startStorage(), startServers(t, 3)
	_, one := startProxy(t, st, servers)
	_, two := startProxy(t, st, servers)
	seen := make(map[string]int)
	for range 9 {
		id, name := begin(t, one)
		seen[name]++
		for _, proxy := range []string{one, two} {
			require.Equal(t, name, ask(t, http.MethodPost, proxy, "{}", sessionHeader, id).body)
			require.Equal(t, name, ask(t, http.MethodGet, proxy, "", sessionHeader, id).body)
		}
		require.Equal(t, http.StatusNoContent, ask(t, http.MethodDelete, two, "", sessionHeader, id).status)
		require.Equal(t, http.StatusNotFound, ask(t, http.MethodPost, one, "{}", sessionHeader, id).status)
		for _, s := range servers {
			require.False(t, s.has(id), "it was ended there, too")
		}
	}
	require.Equal(t, map[string]int{"a": 3, "b": 3, "c": 3}, seen)
}

func TestSessionsOfProxyHaveOwners(t *testing.T) {
	t.Parallel()
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get("User"), nil })
	_, proxy := startProxy(t, startStorage(), startServers(t, 2), owner)
	id, name := begin(t, proxy, "User", "ann")
	require.Equal(t, name, ask(t, http.MethodPost, proxy, "{}", sessionHeader, id, "User", "ann").body)
	require.Equal(t, http.StatusNotFound, ask(t, http.MethodPost, proxy, "{}", sessionHeader, id, "User", "bob").status)
	require.Equal(t, http.StatusUnauthorized, ask(t, http.MethodPost, proxy, "{}", sessionHeader, id).status)
	require.Equal(t, http.StatusUnauthorized, ask(t, http.MethodPost, proxy, initialize).status)
}

func TestTasksAreRouted(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{false, true} {
		st, servers := startStorage(), startServers(t, 3)
		_, one := startProxy(t, st, servers)
		_, two := startProxy(t, st, servers)
		for i, task := range []string{"t1", "t2", "t3", "  ü ", strings.Repeat("long", 1000)} {
			owner := servers[i%3]
			owner.events = events
			// The call takes its turn.
			got, result := call(t, one, callMethod, fmt.Sprintf(`{"name":"x","task":%q}`, task), nameHeader, "x")
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.NoError(t, got.err)
			require.Equal(t, task, result["taskId"])
			for range 3 {
				for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
					_, result = call(t, two, method, fmt.Sprintf(`{"taskId":%q}`, task))
					require.Equal(t, owner.name, result["server"], "found in the body")
				}
			}
			_, result = call(t, two, listenMethod, fmt.Sprintf(`{"notifications":{"taskIds":[%q]}}`, task))
			require.Equal(t, owner.name, result["server"])
			if i < 3 {
				_, result = call(t, two, "tasks/get", `{}`, nameHeader, task)
				require.Equal(t, owner.name, result["server"], "found in the header")
			}
		}
	}
}
