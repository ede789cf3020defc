package mcphttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// A session in the storage leads to no place where its backend cannot be.
func TestStoredAddressesAreChecked(t *testing.T) {
	t.Parallel()
	for backend, addresses := range map[string]map[string]bool{
		"http://mcp.example.com:8080": {
			"": true, "192.0.2.1:8080": true, "[2001:db8::1]:8080": true, "[fe80::1%eth0]:8080": true,
			"192.0.2.1:6379": false, "192.0.2.1": false, "localhost:8080": false, "/run/admin.sock": false,
			"192.0.2.1:8080/admin": false, "user@192.0.2.1:8080": false, "192.0.2.1:8080@evil.example.com": false,
		},
		"http://mcp.example.com":  {"192.0.2.1:80": true, "192.0.2.1:443": false},
		"https://mcp.example.com": {"192.0.2.1:443": true, "192.0.2.1:80": false},
		"http://192.0.2.1:8080":   {"": true, "192.0.2.1:8080": false, "192.0.2.2:8080": false},
	} {
		u, err := url.Parse(backend)
		require.NoError(t, err)
		p := NewProxy(startStorage(), []*url.URL{u})
		for address, want := range addresses {
			s := session.New("x").With(backendKey, backend).With(addressKey, address)
			_, ok := p.targetOf(s)
			require.Equal(t, want, ok, "%s at %s", backend, address)
		}
	}
}

// The address of a Unix socket is no place that a URL could name.
func TestBackendOnAUnixSocket(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	backend := &peer{name: "a", sessions: make(map[string]bool)}
	backend.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: backend}}
	backend.Start()
	t.Cleanup(backend.Close)

	transport := defaultTransport()
	transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		require.Equal(t, "backend:80", address)
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	p := NewProxy(startStorage(), []*url.URL{{Scheme: "http", Host: "backend"}}, WithTransport(transport))
	front := httptest.NewServer(p)
	defer front.Close()
	id, _ := begin(t, front.URL)
	require.Equal(t, "a", send(t, http.MethodPost, front.URL, "{}", sessionHeader, id).body)
}
