package mcphttp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostsAndOrigins(t *testing.T) {
	t.Parallel()
	const loopback, other = "127.0.0.1:80", "192.0.2.1:80"
	named := []ProxyOption{WithHosts("MCP.example.com", "ports.example.com:8080")}
	addresses := []ProxyOption{WithHosts("[2001:db8::1]", "[2001:db8::2]:8080", "192.0.2.1")}
	pages := []ProxyOption{WithOrigins("https://App.example.com")}
	for _, c := range []struct {
		opts                []ProxyOption
		local, host, origin string
		allowed             bool
	}{
		{nil, loopback, "127.0.0.1:80", "", true},
		{nil, loopback, "localhost:80", "http://localhost:3000", true},
		{nil, loopback, "LOCALHOST", "", true},
		{nil, loopback, "[::1]:80", "http://[::1]", true},
		{nil, "[::1]:80", "127.0.0.2", "", true},
		{nil, "[::ffff:127.0.0.1]:80", "evil.example.com", "", false},
		{nil, loopback, "evil.example.com", "", false},
		{nil, loopback, "localhost.example.com", "", false},
		{nil, loopback, "127.0.0.1.example.com:80", "", false},
		{nil, loopback, "", "", false},
		{nil, loopback, "localhost", "http://evil.example.com", false},
		{nil, loopback, "localhost", "null", false},
		{nil, loopback, "localhost", "http://localhost@evil.example.com", false},
		{nil, loopback, "localhost.", "", false},
		{nil, loopback, "127.0.0.1:80@evil.example.com", "", false},
		{nil, loopback, "localhost@evil.example.com", "", false},
		{nil, loopback, "evil.example.com#localhost", "", false},
		{nil, loopback, "[::1]evil.example.com", "", false},
		{nil, loopback, "[::1]:80.evil.example.com", "", false},
		{nil, loopback, "0.0.0.0", "", false},
		{nil, loopback, "localhost", "", true},
		{nil, loopback, "localhost", "http://localhost.evil.example.com", false},
		{nil, loopback, "localhost", `http://evil.example.com\@localhost`, false},
		{nil, loopback, "localhost", "http://localhost http://evil.example.com", false},
		{nil, loopback, "localhost", "file://", false},
		{nil, other, "evil.example.com", "http://evil.example.com", true},
		{nil, other, "mcp.example.com", "null", true},
		{nil, "", "mcp.example.com", "", true},

		{named, loopback, "mcp.example.com", "", true},
		{named, loopback, "mcp.Example.com:443", "https://mcp.example.com", true},
		{named, loopback, "localhost", "", false},
		{named, other, "ports.example.com:8080", "http://ports.example.com:8080", true},
		{named, other, "ports.example.com", "", false},
		{named, other, "evil.example.com", "", false},
		{named, other, "mcp.example.com", "https://evil.example.com", false},
		{named, other, "mcp.example.com", "null", false},

		{addresses, other, "[2001:db8::1]", "", true},
		{addresses, other, "[2001:DB8::1]:8080", "http://[2001:db8::1]:8080", true},
		{addresses, other, "[2001:db8::2]:8080", "", true},
		{addresses, other, "[2001:db8::2]:80", "", false},
		{addresses, other, "192.0.2.1:80", "", true},

		{pages, loopback, "localhost", "https://app.example.com", true},
		{pages, loopback, "localhost", "http://localhost", true},
		{pages, loopback, "localhost", "http://app.example.com", false},
		{pages, loopback, "evil.example.com", "https://app.example.com", false},
		{pages, other, "any.example.com", "https://app.example.com", true},
		{pages, other, "any.example.com", "https://any.example.com", false},
		{pages, other, "any.example.com", "null", false},
		{append(named, pages...), other, "mcp.example.com", "https://app.example.com", true},
		{append(named, pages...), other, "mcp.example.com", "https://mcp.example.com", true},

		{[]ProxyOption{WithHosts("*")}, loopback, "evil.example.com", "http://evil.example.com", true},
		{[]ProxyOption{WithOrigins("*")}, loopback, "localhost", "null", true},
		{[]ProxyOption{WithOrigins("*")}, loopback, "evil.example.com", "", false},
	} {
		var o proxyOptions
		for _, opt := range c.opts {
			opt.applyProxy(&o)
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.local != "" {
			address, err := net.ResolveTCPAddr("tcp", c.local)
			require.NoError(t, err)
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, address))
		}
		require.Equal(t, c.allowed, o.hosts.allow(r), "%+v", c)
	}
}

func TestEachOriginCounts(t *testing.T) {
	t.Parallel()
	h := hosts{origins: []string{"https://a.example.com"}}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header["Origin"] = []string{"https://a.example.com", "https://b.example.com"}
	require.False(t, h.allow(r))
}

func TestRebindingIsRefused(t *testing.T) {
	t.Parallel()
	_, proxy := startProxy(t, startStorage(), startPeers(t, 1))
	for _, headers := range [][]string{{"Host", "evil.example.com"}, {"Origin", "http://evil.example.com"}} {
		require.Equal(t, http.StatusForbidden, send(t, http.MethodPost, proxy, initialize, headers...).status)
	}
}
