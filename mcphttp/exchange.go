package mcphttp

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"

	"github.com/seed34611480/session"
)

// exchange is what a proxy knows of one request. It travels in the request's context, and is used by one goroutine at
// a time.
type exchange struct {
	target target
	bound  bound
	begins bool       // it may begin a session
	tried  []*backend // could not be dialled

	learns bool   // the answer may announce tasks
	owner  string // of these
	key    string // the id of the key that has bound the request, if it is one of affinity

	body    []byte   // of the request
	url     *url.URL // of the request, when it comes to where it is sent
	dialled string   // the address of the connection that was used, "" if it was not asked for
}

// bound is why a request can go to one backend only.
type bound uint8

const (
	free       bound = iota // it can go to any
	byState                 // its session, or its task, is there
	byAffinity              // others with its key go there
)

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// aim directs a request to the target.
func (x *exchange) aim(out *http.Request) {
	u := *x.url
	out.URL = &u
	(&httputil.ProxyRequest{Out: out}).SetURL(x.target.backend.url)
	if x.url.Path == "" || x.url.Path == "/" { // a server at /mcp is not at /mcp/, too
		out.URL.Path, out.URL.RawPath = x.target.backend.url.Path, x.target.backend.url.RawPath
	}
	// A backend on loopback refuses any other Host than its own. It is not the address: that has no name.
	out.Host = x.target.backend.url.Host
	out.URL.Host = x.target.host()
}

// send sends a request to the target.
func (x *exchange) send(out *http.Request) (*http.Response, error) {
	if x.target.address == "" && !x.target.backend.literal {
		trace := httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { x.dialled = c.Conn.RemoteAddr().String() }}
		out = out.WithContext(httptrace.WithClientTrace(out.Context(), &trace))
	}
	return x.target.backend.transport.RoundTrip(out)
}

// What is stored of a target.
const (
	backendKey = "backend"
	addressKey = "address"
)

// in returns a session that leads to the target.
func (t target) in(s *session.Session) *session.Session {
	s = s.With(backendKey, t.backend.name)
	if t.address == "" {
		return s.Without(addressKey)
	}
	return s.With(addressKey, t.address)
}

// targetOf returns where a session leads to, if this proxy has that backend. What the storage says is not dialled
// without a look at it: write access to the storage should not be access to the proxy's network.
func (p *Proxy) targetOf(s *session.Session) (target, bool) {
	name, _ := s.Get(backendKey)
	backend := p.backends.named(name)
	if backend == nil {
		return target{}, false
	}
	address, _ := s.Get(addressKey)
	return target{backend, address}, address == "" || backend.mayBeAt(address)
}
