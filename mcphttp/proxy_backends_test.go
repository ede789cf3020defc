package mcphttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// noKeepAlive makes each request dial: one on a connection that was just closed is answered with 502.
func noKeepAlive() ProxyOption {
	transport := defaultTransport()
	transport.DisableKeepAlives = true
	return WithTransport(transport)
}

// eventually asks until the status is the wanted one.
func eventually(t testing.TB, status int, question func() outcome) outcome {
	t.Helper()
	var got outcome
	require.Eventually(t, func() bool {
		got = question()
		return got.status == status
	}, 10*time.Second, 10*time.Millisecond)
	return got
}

func TestDeadBackend(t *testing.T) {
	t.Parallel()
	st, peers := startStorage(), startPeers(t, 2)
	_, proxy := startProxy(t, st, peers, WithDeadAfter(200*time.Millisecond), noKeepAlive())
	id, name := begin(t, proxy)
	require.Equal(t, "a", name)
	call(t, proxy, callMethod, `{"task":"t"}`)
	alive, name := begin(t, proxy)
	require.Equal(t, "b", name)
	ofSession := func() outcome { return send(t, http.MethodPost, proxy, "{}", sessionHeader, id) }
	ofTask := func() outcome {
		got, _ := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
		return got
	}
	peers[0].Close()

	got := ofSession()
	require.Equal(t, http.StatusServiceUnavailable, got.status, "it may come back")
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, http.StatusServiceUnavailable, ofTask().status)
	for range 8 {
		_, name = begin(t, proxy)
		require.Equal(t, "b", name, "what begins is sent elsewhere")
		_, result := call(t, proxy, callMethod, `{}`)
		require.Equal(t, "b", result["server"])
	}

	got = eventually(t, http.StatusNotFound, ofSession)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"), "the client begins anew")
	got = ofTask()
	require.Equal(t, http.StatusNotFound, got.status)
	require.JSONEq(t, `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"unknown task"}}`, got.body)
	require.Equal(t, "b", send(t, http.MethodPost, proxy, "{}", sessionHeader, alive).body)

	peers[0].restart(t)
	require.Eventually(t, func() bool {
		_, name := begin(t, proxy)
		return name == "a"
	}, 10*time.Second, 10*time.Millisecond, "it is alive again")
	require.Equal(t, "unknown\n", ofSession().body, "this is its own answer")
	_, result := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, "a", result["server"])
}

func TestSessionsOfADeadBackendCanBeEnded(t *testing.T) {
	t.Parallel()
	st, peers := startStorage(), startPeers(t, 1)
	_, proxy := startProxy(t, st, peers)
	id, _ := begin(t, proxy)
	peers[0].Close()
	require.Equal(t, http.StatusNoContent, send(t, http.MethodDelete, proxy, "", sessionHeader, id).status)
	_, err := st.Load(t.Context(), id)
	require.ErrorIs(t, err, session.ErrNotFound)
}

func TestTimeoutIsNoDeath(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 2)
	transport := defaultTransport()
	var cut bool
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if cut && address == peers[0].Listener.Addr().String() {
			return nil, errTimedOut
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	transport.DisableKeepAlives = true
	_, proxy := startProxy(t, startStorage(), peers, WithTransport(transport), WithDeadAfter(time.Millisecond))
	id, name := begin(t, proxy)
	require.Equal(t, "a", name)
	cut = true
	for range 10 {
		require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, proxy, "{}", sessionHeader, id).status)
		_, name = begin(t, proxy)
		require.Equal(t, "b", name)
	}
	cut = false
	require.Equal(t, "a", send(t, http.MethodPost, proxy, "{}", sessionHeader, id).body, "it was there all the time")
}

func TestNoBackendIsLeft(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 2)
	_, proxy := startProxy(t, startStorage(), peers, noKeepAlive())
	for _, p := range peers {
		p.Close()
	}
	for range 4 {
		require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, proxy, initialize).status)
		got, _ := call(t, proxy, callMethod, `{}`)
		require.Equal(t, http.StatusServiceUnavailable, got.status)
	}
	peers[1].restart(t)
	_, name := begin(t, proxy)
	require.Equal(t, "b", name, "at once: there is none that would be better")
}

func TestKeysOfADeadBackendGetAnother(t *testing.T) {
	t.Parallel()
	key := WithKey(func(*http.Request) (string, bool) { return "all", true })
	st, peers := startStorage(), startPeers(t, 2)
	_, one := startProxy(t, st, peers, key, WithDeadAfter(100*time.Millisecond), noKeepAlive())
	_, two := startProxy(t, st, peers, key)
	asking := func(proxy string) func() outcome {
		return func() outcome {
			got, _ := call(t, proxy, callMethod, `{}`)
			return got
		}
	}
	require.Contains(t, asking(one)().body, `"a"`)
	peers[0].Close()
	require.Equal(t, http.StatusServiceUnavailable, asking(one)().status)
	require.Contains(t, eventually(t, http.StatusOK, asking(one)).body, `"b"`)
	peers[0].restart(t)
	for range 4 {
		require.Contains(t, asking(one)().body, `"b"`, "there is no way back")
		require.Contains(t, asking(two)().body, `"b"`)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	key := WithKey(func(r *http.Request) (string, bool) { return r.Header.Get("Key"), r.Header.Get("Key") != "" })
	peers := startPeers(t, 2)
	p, proxy := startProxy(t, startStorage(), peers, key)
	id, name := begin(t, proxy)
	require.Equal(t, "a", name)
	call(t, proxy, callMethod, `{"task":"t"}`)
	begin(t, proxy) // b's turn
	_, name = begin(t, proxy, "Key", "old")
	require.Equal(t, "a", name)

	p.Drain(peers[0].parsed(t))
	p.Drain(&url.URL{Scheme: "http", Host: "unknown"})
	for range 4 {
		_, name = begin(t, proxy)
		require.Equal(t, "b", name)
		_, name = begin(t, proxy, "Key", "new")
		require.Equal(t, "b", name)
		_, result := call(t, proxy, callMethod, `{}`)
		require.Equal(t, "b", result["server"])
	}
	require.Equal(t, "a", send(t, http.MethodPost, proxy, "{}", sessionHeader, id).body)
	_, result := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, "a", result["server"])
	_, name = begin(t, proxy, "Key", "old")
	require.Equal(t, "a", name)

	p.Drain(peers[1].parsed(t))
	require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, proxy, initialize).status)
}

func TestAddressOfAName(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 2)
	addresses := map[string]string{"a": peers[0].Listener.Addr().String(), "b": peers[1].Listener.Addr().String()}
	dials := 0
	transport := defaultTransport()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "backend.example.com:80" { // a name with two addresses
			address = []string{addresses["a"], addresses["b"]}[dials%2]
			dials++
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	transport.DisableKeepAlives = true
	byKey := WithKey(func(r *http.Request) (string, bool) { return r.Header.Get("Key"), r.Header.Get("Key") != "" })
	backend := &url.URL{Scheme: "http", Host: "backend.example.com"}
	p := NewProxy(startStorage(), []*url.URL{backend}, WithTransport(transport), byKey)
	front := httptest.NewServer(p)
	defer front.Close()
	defer func() { require.NoError(t, p.Shutdown(t.Context())) }()

	for range 2 {
		id, name := begin(t, front.URL)
		_, result := call(t, front.URL, callMethod, `{"task":"t`+id+`"}`)
		for range 3 {
			got := send(t, http.MethodPost, front.URL, "{}", sessionHeader, id)
			require.Equal(t, name, got.body)
			require.Equal(t, "backend.example.com", peers[name[0]-'a'].lastRequest().Host)
		}
		require.NotNil(t, result["taskId"])
		_, first := call(t, front.URL, "tasks/get", `{"taskId":"t`+id+`"}`)
		for range 3 {
			_, again := call(t, front.URL, "tasks/get", `{"taskId":"t`+id+`"}`)
			require.Equal(t, first, again)
		}
		_, keyed := call(t, front.URL, callMethod, `{}`, "Key", id)
		for range 3 {
			_, again := call(t, front.URL, callMethod, `{}`, "Key", id)
			require.Equal(t, keyed["server"], again["server"])
		}
		begin(t, front.URL) // for another order
	}
}

func TestNamesAreCheckedBehindAddresses(t *testing.T) {
	t.Parallel()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(sessionHeader, session.NewID())
		_, _ = w.Write([]byte(r.TLS.ServerName))
	}))
	defer backend.Close()
	transport := backend.Client().Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, backend.Listener.Addr().String())
	}
	// The test server's certificate is for example.com.
	for name, expected := range map[string]string{"example.com": "", "mcp.internal": "example.com"} {
		transport := transport.Clone()
		transport.TLSClientConfig.ServerName = expected
		p := NewProxy(startStorage(), []*url.URL{{Scheme: "https", Host: name}}, WithTransport(transport))
		front := httptest.NewServer(p)
		defer front.Close()
		defer func() { require.NoError(t, p.Shutdown(t.Context())) }()
		id, name := begin(t, front.URL)
		require.Equal(t, "example.com", name)
		got := send(t, http.MethodPost, front.URL, "{}", sessionHeader, id)
		require.Equal(t, http.StatusOK, got.status)
		require.Equal(t, "example.com", got.body)
	}
}

func TestBackendThatThisReplicaDoesNotHave(t *testing.T) {
	t.Parallel()
	st, peers := startStorage(), startPeers(t, 2)
	_, both := startProxy(t, st, peers)
	_, second := startProxy(t, st, peers[1:])
	id, name := begin(t, both)
	require.Equal(t, "a", name)
	require.Equal(t, http.StatusNotFound, send(t, http.MethodPost, second, "{}", sessionHeader, id).status)
	call(t, both, callMethod, `{"task":"t"}`)
	got, _ := call(t, second, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, http.StatusNotFound, got.status)
	require.Equal(t, name, send(t, http.MethodPost, both, "{}", sessionHeader, id).body)
}

func TestNewProxyWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "http", Host: "localhost"}
	for name, construct := range map[string]func(){
		"no backend":    func() { NewProxy(startStorage(), nil) },
		"nil":           func() { NewProxy(startStorage(), []*url.URL{nil}) },
		"no host":       func() { NewProxy(startStorage(), []*url.URL{{Scheme: "http"}}) },
		"no scheme":     func() { NewProxy(startStorage(), []*url.URL{{Host: "localhost"}}) },
		"twice":         func() { NewProxy(startStorage(), []*url.URL{u, u}) },
		"no storage":    func() { NewProxy(nil, []*url.URL{u}) },
		"no parameter":  func() { WithParamKey("") },
		"bad parameter": func() { WithParamKey("a b") },
		"no key":        func() { WithKey(nil) },
		"no transport":  func() { WithTransport(nil) },
		"negative":      func() { WithDeadAfter(-1) },
	} {
		require.Panics(t, construct, name)
	}
}
