package mcphttp

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed34611480/session"
)

// Proxy sends each request of MCP clients to the backend that has what the request is about, in both eras of the
// protocol. It keeps what it knows in a storage, so any number of replicas can share the work, behind a balancer that
// knows nothing of MCP. It is safe for concurrent use.
//
// What a request is about is, in this order:
//
//   - Its session, in the legacy era. The backend that answers an initialize with an Mcp-Session-Id has the session,
//     which is stored before the client learns the id. Everything that [Sessions] says of sessions, their owners and
//     their answers holds for a Proxy, too.
//   - Its task, in the modern era: Mcp-Name of tasks/get, tasks/update and tasks/cancel, or params.taskId, because the
//     clients of go-sdk and mcp-go do not send the header; the first of the taskIds of subscriptions/listen. The
//     backend that has answered a tools/call with a task has it: with the resultType "task", or, as mcp-go does, with
//     the member "task" of 2025-11-25. That is learnt while the answer passes, and stored before the client can know
//     the id.
//   - A named parameter ([WithParamKey]), or what a function of yours returns ([WithKey]). The first request with a
//     value is sent to any backend, and all others with that value go to the same.
//
// All other requests are spread over the backends. So is one of an unknown task, to let a backend say so, unless there
// is a [WithOwner]: then a task exists for the owner only whose call has begun it, and is unknown (404, -32602) to
// others. subscriptions/listen may then name 64 tasks, all of that owner. A request of the modern era whose headers and
// body name different tasks or methods is refused then (400, -32020), as is one whose body two parsers could read
// differently. The bodies of the legacy era are not looked into: a backend that answers there for the same tasks has to
// ask itself whose they are. mcp-go's does not.
//
// The address that was dialled is stored with the backend: a name may have many addresses, and one of them has the
// session. An address with another port than the backend's is not dialled, unless there is a [WithTransport]. A key
// that is taken is never overwritten with another backend; an answer that would need that fails. A key lives until it
// was not used for the TTL of the storage; that of a task for its ttlMs, of up to 30 days, if that is longer.
//
// # Backends that fail
//
// A request that begins something is sent to another backend when one cannot be dialled: nothing was sent yet. One
// that belongs to that backend is answered with 503 and Retry-After, and keeps its session. Only when a backend is
// dead, it is answered with 404, so that its client begins anew; and the values of a [WithParamKey] or [WithKey] get
// another backend. Dead is an address that has refused connections, and has taken none meanwhile, for the time of
// [WithDeadAfter]. A time-out is no proof of death: the network may be down, and the session alive. A dead backend
// that accepts a connection again is alive: one request or two in a second try.
//
// Backends that this replica does not have are dead, too. So give all replicas a new backend before it gets sessions,
// see [Proxy.Drain].
//
// # Requests and answers
//
// The body of a request is read before the request is sent on, see [WithMaxBody]. Answers are passed on as they come. A
// backend is asked not to compress that of a tools/call, which may announce a task; one that uses gzip nevertheless is
// decompressed, and any other encoding is answered with 502. When the client hangs up, the backend's request is
// cancelled. Upgrade and CONNECT are not passed on. The path of a request is appended to that of the backend's URL,
// unless it is "/", and refused with 400 if it has a "..".
//
// X-Forwarded-For, -Host and -Proto are set to what this proxy knows, and Expect and headers of this hop dropped. Other
// headers are passed on, Authorization and Cookie among them. Remove what was made for this proxy only, in a handler in
// front of it: an MCP server must not get the token of another one.
//
// On loopback, requests with another Host or Origin than loopback are refused with 403, because the backend's own
// check sees the backend's host, see [WithHosts].
type Proxy struct {
	proxyOptions

	storage  session.Storage
	ttl      time.Duration // of the storage, 0 if it is not known
	backends backends
	health   *health
	sessions *Sessions
	reverse  *httputil.ReverseProxy
}

// NewProxy returns a Proxy in front of backends: http or https URLs, of which path and query are kept, and a user is
// not. They are stored as they are spelled, so all replicas have to spell them in one way. The storage, which must be a
// [session.Creator], stays the caller's to close, after Shutdown. NewProxy panics when it is none, and when there is no
// backend, or one twice, or one whose URL is none.
func NewProxy(st session.Storage, backends []*url.URL, opts ...ProxyOption) *Proxy {
	p := &Proxy{storage: st, proxyOptions: proxyOptions{options: defaultOptions()}}
	for _, opt := range opts {
		opt.applyProxy(&p.proxyOptions)
	}
	p.backends = newBackends(backends, p.transport)
	p.health = newHealth(p.deadAfter, p.logger)
	if expirer, ok := st.(session.Expirer); ok {
		p.ttl = expirer.TTL()
	}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      hop{p},
		ModifyResponse: p.answered,
		ErrorHandler:   p.failed,
		ErrorLog:       quiet,
		BufferPool:     new(buffers),
	}
	p.sessions = NewSessions(st, http.HandlerFunc(p.forward))
	p.sessions.options = p.options
	p.sessions.answers.grace = p.grace
	p.sessions.loaded, p.sessions.created = p.sessionLoaded, p.sessionCreated
	return p
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.hosts.allow(r) {
		http.Error(w, "this Host or Origin is not allowed", http.StatusForbidden)
		return
	}
	if climbs(r.URL.Path) {
		http.Error(w, "the path is not allowed", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodConnect { // a server that knows it would make it a tunnel
		refuseMethod(w)
		return
	}
	p.sessions.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, new(exchange))))
}

// climbs reports whether a path leads out of that of the backend's URL, to which it is appended.
func climbs(path string) bool {
	return strings.Contains(path, "..") &&
		slices.Contains(strings.FieldsFunc(path, func(c rune) bool { return c == '/' || c == '\\' }), "..")
}

// Drain stops sending a backend what begins something: it gets what belongs to it only. A backend that has no sessions
// and tasks any more can be stopped without a client noticing. There is no way back, but a restart of this replica. A
// URL that the proxy does not have, or not in this spelling, changes nothing. Each replica has to be told.
func (p *Proxy) Drain(backend *url.URL) {
	if b := p.backends.named(nameOf(backend)); b != nil {
		b.draining.Store(true)
	}
}

// Shutdown answers all new requests with 503, and cuts those that are being answered: streams at once, calls when they
// have not ended after the time of [WithGrace], or when ctx ends. Their clients keep their sessions, and go on with
// another replica. Shutdown returns nil when all have ended, or the error of ctx. Call it before that of
// [http.Server], which waits for streams to end. It may be called several times.
func (p *Proxy) Shutdown(ctx context.Context) error {
	defer p.backends.closeIdle()
	return p.sessions.Shutdown(ctx)
}
