package mcphttp

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a proxy goes by reaches the backend: a client cannot have it dropped on the way.
func TestConnectionRemovesNoHeaders(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers)
	send(t, http.MethodPost, proxy, initialize, versionHeader, modernSince, methodHeader, "initialize",
		"Connection", "keep-alive, mcp-protocol-version, MCP-METHOD, X-User, Upgrade", "Upgrade", "websocket",
		"Keep-Alive", "7", userHeader, "ann")
	got := peers[0].lastRequest().Header
	require.Equal(t, modernSince, got.Get(versionHeader))
	require.Equal(t, "initialize", got.Get(methodHeader))
	require.Equal(t, "ann", got.Get(userHeader))
	for _, name := range []string{"Connection", "Upgrade", "Keep-Alive"} {
		require.Empty(t, got.Get(name), name)
	}

	id, _ := begin(t, proxy)
	send(t, http.MethodPost, proxy, "{}", sessionHeader, id, "Connection", sessionHeader)
	require.Equal(t, id, peers[0].lastRequest().Header.Get(sessionHeader))
}

// HTTP/2 lets spaces around a value pass. The backend, which gets the request over HTTP/1.1, does not see them.
func TestSpacesHideNoEra(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get(userHeader), nil })
	p := NewProxy(startStorage(), []*url.URL{peers[0].parsed(t)}, owner)
	front := httptest.NewUnstartedServer(p)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	defer func() { require.NoError(t, p.Shutdown(t.Context())) }()
	ask := func(user, version, method, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL, strings.NewReader(body))
		require.NoError(t, err)
		r.Header = http.Header{userHeader: {user}, versionHeader: {version}, methodHeader: {method}}
		answer, err := front.Client().Transport.RoundTrip(r)
		require.NoError(t, err)
		require.Equal(t, 2, answer.ProtoMajor)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	require.Equal(t, 200, ask("ann", modernSince, callMethod, `{"method":"tools/call","params":{"task":"anns"}}`))
	peers[0].forget()
	const get = `{"method":"tasks/get","params":{"taskId":"anns"}}`
	for _, version := range []string{" " + modernSince, "\t" + modernSince + " "} {
		require.Equal(t, 404, ask("bob", version, "tasks/get", get))
		require.Equal(t, 400, ask("bob", version, " tasks/get", get))
		require.Nil(t, peers[0].lastRequest())
		require.Equal(t, 200, ask("ann", version, "tasks/get", get))
		peers[0].forget()
	}
}

// The operator has given the proxy one path of the backend.
func TestPathStaysBelowTheBackends(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	backend := peers[0].parsed(t)
	backend.Path = "/tenant/mcp"
	p := NewProxy(startStorage(), []*url.URL{backend})
	backend.Path = "/admin" // it is the caller's, and nothing to the proxy any more
	front := httptest.NewServer(p)
	defer front.Close()
	for path, want := range map[string]string{
		"/a..b/...":         "/tenant/mcp/a..b/...",
		"":                  "/tenant/mcp",
		"/":                 "/tenant/mcp",
		"/../admin":         "",
		"/x/%2e%2e/%2E./ad": "",
		"/..%2fadmin":       "",
		"/..%5cadmin":       "",
		"/..":               "",
	} {
		peers[0].forget()
		got := send(t, http.MethodPost, front.URL+path, initialize)
		if want == "" {
			require.Equal(t, http.StatusBadRequest, got.status, path)
			require.Nil(t, peers[0].lastRequest(), path)
			continue
		}
		require.Equal(t, http.StatusOK, got.status, path)
		require.Equal(t, want, peers[0].lastRequest().URL.Path)
	}
}

// An answer that breaks off is the backend's fault, also when it is read before its header leaves.
func TestShortAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	peers[0].handle = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
	}
	_, proxy := startProxy(t, startStorage(), peers)
	got, _ := call(t, proxy, callMethod, `{}`)
	require.Equal(t, http.StatusBadGateway, got.status)
}

// A Transport repeats a request that has an Idempotency-Key when its connection ends without an answer. That is between
// the client and the server: few MCP servers know the header, and would execute a call twice.
func TestCallsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"X-Other", "Idempotency-Key", "X-Idempotency-Key"} {
		peers := startPeers(t, 1)
		var calls atomic.Int32
		peers[0].handle = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(methodHeader) != callMethod {
				return
			}
			if r.Header.Get(header) == "7" {
				calls.Add(1)
			}
			panic(http.ErrAbortHandler)
		}
		peers[0].Config.ErrorLog = quiet
		_, proxy := startProxy(t, startStorage(), peers)
		got, _ := call(t, proxy, "tools/list", `{}`) // so that there is a connection
		require.Equal(t, http.StatusOK, got.status)
		got, _ = call(t, proxy, callMethod, `{}`, header, "7")
		require.Equal(t, http.StatusBadGateway, got.status, header)
		require.EqualValues(t, 1, calls.Load(), header)
	}
}
