package mcphttp

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// hosts are those for which a proxy answers.
type hosts struct {
	names   []string // in lower case; none: loopback on loopback, and any elsewhere
	origins []string // in lower case
}

// allow reports whether Host and Origin of a request are allowed.
func (h *hosts) allow(r *http.Request) bool {
	if !h.allowHost(r, r.Host) {
		return false
	}
	for _, origin := range r.Header["Origin"] {
		if !h.allowOrigin(r, origin) {
			return false
		}
	}
	return true
}

func (h *hosts) allowHost(r *http.Request, host string) bool {
	switch host = lower(host); {
	case slices.Contains(h.names, "*"):
		return true
	case len(h.names) > 0:
		return slices.Contains(h.names, host) || slices.Contains(h.names, hostname(host))
	}
	return !toLoopback(r) || isLoopback(hostname(host))
}

func (h *hosts) allowOrigin(r *http.Request, origin string) bool {
	if slices.Contains(h.origins, "*") || slices.Contains(h.origins, lower(origin)) {
		return true
	}
	page, err := url.Parse(origin)
	if err != nil || page.Host == "" { // "null" is a page without a place
		return len(h.names) == 0 && len(h.origins) == 0 && !toLoopback(r)
	}
	if len(h.names) == 0 && len(h.origins) > 0 {
		return toLoopback(r) && isLoopback(page.Hostname())
	}
	return h.allowHost(r, page.Host)
}

// toLoopback reports whether a request has come to a loopback address.
func toLoopback(r *http.Request) bool {
	address, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && isLoopback(hostname(address.String()))
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostname returns a host without its port, and an IPv6 address without brackets.
func hostname(host string) string {
	return (&url.URL{Host: host}).Hostname()
}

func lower(s string) string { return strings.ToLower(s) }
