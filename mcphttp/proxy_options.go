package mcphttp

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ProxyOption configures a [Proxy]. It checks its argument when it is made.
type ProxyOption interface{ applyProxy(o *proxyOptions) }

// proxyOptions are those of a Proxy.
type proxyOptions struct {
	options

	hosts     hosts
	params    []string // headers, canonical
	key       func(r *http.Request) (string, bool)
	transport *http.Transport // nil: a new one
	deadAfter time.Duration   // 0: the default
}

type proxyOption func(o *proxyOptions)

func (set proxyOption) applyProxy(o *proxyOptions) { set(o) }

// WithHosts sets for which hosts the proxy answers, such as "mcp.example.com": requests with another Host, or with an
// Origin of another host, are refused with 403. A port counts where a host has one. "*" is any host. By default a
// connection to a loopback address needs a Host and an Origin of loopback, and any other connection may have any.
//
// That is what keeps the web pages in a user's browser from the servers on that user's machine: a page's own name may
// lead to 127.0.0.1, but the browser sends the name (DNS rebinding).
func WithHosts(hosts ...string) ProxyOption {
	names := make([]string, len(hosts))
	for i, host := range hosts {
		names[i] = lower(host)
		if strings.HasSuffix(host, "]") { // an IPv6 address without a port
			names[i] = hostname(names[i])
		}
	}
	return proxyOption(func(o *proxyOptions) { o.hosts.names = append(o.hosts.names, names...) })
}

// WithOrigins allows further values of the Origin header, such as "https://app.example.com", for web pages that are
// clients. "*" is any origin. A request without an Origin is no page's. The headers of CORS are those of a handler in
// front, which also answers OPTIONS.
func WithOrigins(origins ...string) ProxyOption {
	values := make([]string, len(origins))
	for i, origin := range origins {
		values[i] = lower(origin)
	}
	return proxyOption(func(o *proxyOptions) { o.hosts.origins = append(o.hosts.origins, values...) })
}

// WithParamKey makes the requests of the modern era that have one value of a parameter go to one backend. name is that
// of the tool's x-mcp-header: "Region" is sent as Mcp-Param-Region. It may be given several times: the first parameter
// that a request has counts. Clients send parameters only after a tools/list. WithParamKey panics when name is empty
// or no header name.
//
// What a client says is no proof: a key is only a place, and gives no access to anything. Users share keys, also the
// places of each other's. Each value takes up some 200 bytes of the storage until it was not used for the TTL.
func WithParamKey(name string) ProxyOption {
	if name == "" || slices.ContainsFunc([]byte(name), notInHeaderNames) {
		panic(fmt.Sprintf("mcphttp: WithParamKey(%q): no name of a parameter", name))
	}
	header := http.CanonicalHeaderKey(paramPrefix + name)
	return proxyOption(func(o *proxyOptions) { o.params = append(o.params, header) })
}

// WithKey makes the requests for which key returns the same text go to one backend: those of one workspace for
// example. For false, other rules decide. Of the legacy era, key is asked about requests that may begin a session. It
// must not read the body, and is called by any number of goroutines at a time. What [WithParamKey] says of keys holds
// here, too. WithKey panics when key is nil.
func WithKey(key func(r *http.Request) (string, bool)) ProxyOption {
	if key == nil {
		panic("mcphttp: WithKey: the function is nil")
	}
	return proxyOption(func(o *proxyOptions) { o.key = key })
}

// WithTransport sets how backends are reached: time-outs, TLS, the number of idle connections. The proxy uses copies
// of the transport, without its Proxy, which would hide the address of the backend. The default dials for 2 s at most,
// waits for answers without limit, and keeps 256 idle connections to each backend. WithTransport panics when transport
// is nil.
func WithTransport(transport *http.Transport) ProxyOption {
	if transport == nil {
		panic("mcphttp: WithTransport: the transport is nil")
	}
	return proxyOption(func(o *proxyOptions) { o.transport = transport })
}

// WithDeadAfter sets for how long a backend's address must have refused all connections until its sessions are given
// up: longer than a restart, if the backend keeps its sessions over one. 0 means the default, 2 s. It panics when d is
// negative.
func WithDeadAfter(d time.Duration) ProxyOption {
	if d < 0 {
		panic(fmt.Sprintf("mcphttp: WithDeadAfter(%v): cannot be negative", d))
	}
	return proxyOption(func(o *proxyOptions) { o.deadAfter = d })
}

func notInHeaderNames(c byte) bool {
	return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
}
