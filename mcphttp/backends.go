package mcphttp

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// backend is one of the servers behind a proxy.
type backend struct {
	name      string // its URL, without a password
	url       *url.URL
	literal   bool // the host is an address
	anyPort   bool // the transport is the caller's, which may dial another one
	transport *http.Transport
	draining  atomic.Bool
}

// target is where a request goes.
type target struct {
	backend *backend
	address string // the host and port to dial; "": the backend's own, any address of it
}

// host returns the host that is dialled.
func (t target) host() string {
	if t.address != "" {
		return t.address
	}
	return t.backend.url.Host
}

// backends are those of a proxy. The list does not change.
type backends struct {
	list []*backend

	// Requests that may begin a session have turns of their own: a client that sends one other request before each of
	// them would put all sessions on every second backend.
	beginning, others atomic.Uint64
}

func newBackends(urls []*url.URL, transport *http.Transport) backends {
	if len(urls) == 0 {
		panic("mcphttp: NewProxy: there is no backend")
	}
	own := transport != nil
	if !own {
		transport = defaultTransport()
	}
	transport = transport.Clone()
	transport.Proxy = nil
	list := make([]*backend, 0, len(urls))
	for _, u := range urls {
		if u == nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			panic(fmt.Sprintf("mcphttp: NewProxy: backend %d has no http or https URL", len(list)))
		}
		mine := *u // the caller may change its own
		b := &backend{name: nameOf(u), url: &mine, transport: transport, anyPort: own}
		_, err := netip.ParseAddr(u.Hostname())
		b.literal = err == nil
		if u.Scheme == "https" && !b.literal {
			b.transport = transportFor(transport, u.Hostname())
		}
		if slices.ContainsFunc(list, func(other *backend) bool { return other.name == b.name }) {
			panic(fmt.Sprintf("mcphttp: NewProxy: backend %d has the URL of another one", len(list)))
		}
		list = append(list, b)
	}
	return backends{list: list}
}

// mayBeAt reports whether the name of the backend's host can have led to an address: one of another port cannot, nor
// can what is no address, such as that of a Unix socket.
func (b *backend) mayBeAt(address string) bool {
	at, err := netip.ParseAddrPort(address)
	if err != nil || b.literal {
		return false
	}
	port := b.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[b.url.Scheme]
	}
	return b.anyPort || port == strconv.Itoa(int(at.Port()))
}

// transportFor returns a transport that dials addresses, and expects the certificate of a name.
func transportFor(transport *http.Transport, name string) *http.Transport {
	transport = transport.Clone()
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = new(tls.Config)
	}
	if transport.TLSClientConfig.ServerName == "" { // or the caller's, for a certificate of another name
		transport.TLSClientConfig.ServerName = name
	}
	return transport
}

func defaultTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		DisableCompression:    true, // an answer has the encoding that the client has asked for
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// nameOf returns the name under which a backend is stored.
func nameOf(u *url.URL) string {
	named := *u
	named.User = nil
	return named.String()
}

// named returns the backend of a name, nil if there is none.
func (b *backends) named(name string) *backend {
	for _, backend := range b.list {
		if backend.name == name {
			return backend
		}
	}
	return nil
}

// next returns the backend whose turn it is, but none of those that were tried: first among those that have no
// trouble, or are to be tried once more. It returns nil if there is none left.
func (b *backends) next(begins bool, h *health, tried []*backend) *backend {
	turns := &b.others
	if begins {
		turns = &b.beginning
	}
	turn := turns.Add(1) - 1
	var troubled *backend
	for i := range uint64(len(b.list)) {
		backend := b.list[(turn+i)%uint64(len(b.list))]
		if backend.draining.Load() || slices.Contains(tried, backend) {
			continue
		}
		if h.mayDial(backend.url.Host) {
			return backend
		}
		if troubled == nil {
			troubled = backend
		}
	}
	return troubled
}

func (b *backends) closeIdle() {
	for _, backend := range b.list {
		backend.transport.CloseIdleConnections()
	}
}
