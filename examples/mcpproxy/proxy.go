package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session"
)

const (
	sessionHeader = "Mcp-Session-Id"
	versionHeader = "Mcp-Protocol-Version"
	backendKey    = "backend_url"
)

// proxy sends every request of an MCP session to the backend that holds the session. It keeps its knowledge in the
// storage, so any number of replicas can share the work, behind a balancer that knows nothing of sessions.
//
// It does not authenticate its users. A proxy that does would also store the owner (session.WithPrincipal), and load
// with session.LoadOwned.
type proxy struct {
	sessions  sessions
	backends  []*url.URL
	transport http.RoundTripper
	log       *log.Logger

	keepAlive time.Duration   // how often the session of an open answer is loaded: at most a quarter of the TTL
	running   context.Context // ends when the server shuts down: streams end at once,
	grace     time.Duration   // and other answers this much later

	beginning, stateless atomic.Uint64 // requests without a session so far, see next
}

// sessions is what a proxy needs of a storage. Every storage of package session has it.
type sessions interface {
	session.Storage
	session.Creator
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(sessionHeader)
	if id == "" {
		p.open(w, r)
		return
	}
	s, err := p.sessions.Load(r.Context(), id)
	if err != nil {
		refuse(w, r, err)
		return
	}
	address, _ := s.Get(backendKey)
	backend, err := url.Parse(address)
	if err != nil {
		refuse(w, r, err)
		return
	}
	if r.Method == http.MethodDelete {
		p.end(w, r, backend, id)
		return
	}
	p.forward(w, r, backend, id, nil)
}

// open forwards a request that has no session yet. If the answer contains a session id, the session is created before
// the client learns the id: the client's next request may reach any replica.
func (p *proxy) open(w http.ResponseWriter, r *http.Request) {
	backend := p.next(r)
	// A name may have many addresses, and only the one that was dialled holds the session.
	address := backend.Host
	trace := httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { address = c.Conn.RemoteAddr().String() }}
	ctx := httptrace.WithClientTrace(r.Context(), &trace)

	p.forward(w, r.WithContext(ctx), backend, "", func(answer *http.Response) error {
		id := answer.Header.Get(sessionHeader)
		if id == "" {
			return nil
		}
		holder := url.URL{Scheme: backend.Scheme, Host: address}
		s := session.New(id).WithType(session.TypeStreamable).With(backendKey, holder.String())
		// Create, not Store: an id that is taken leads to another client's backend, and has to stay that way.
		err := p.sessions.Create(answer.Request.Context(), s)
		if err != nil {
			p.abandon(answer.Request, address, id)
		}
		return err
	})
}

// next takes turns among the backends. Requests that name a protocol version, such as server/discover, begin no
// session. They have turns of their own: a client that sends one before each initialize would else put all sessions on
// the same backend.
func (p *proxy) next(r *http.Request) *url.URL {
	turns := &p.beginning
	if r.Header.Get(versionHeader) != "" {
		turns = &p.stateless
	}
	return p.backends[(turns.Add(1)-1)%uint64(len(p.backends))]
}

// abandon ends a session whose id its client does not learn, because it could not be created here: a backend would
// otherwise keep it until it expires. The DELETE has the headers, and so the rights, of the request that began the
// session. A failure is no more than that session left behind.
func (p *proxy) abandon(began *http.Request, address, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(began.Context()), p.grace)
	defer cancel()
	r := began.Clone(ctx)
	r.Method, r.URL.Host = http.MethodDelete, address
	r.Body, r.GetBody, r.ContentLength = nil, nil, 0
	r.Header.Del("Content-Type")
	r.Header.Set(sessionHeader, id)
	if answer, err := p.transport.RoundTrip(r); err == nil {
		_ = answer.Body.Close()
	}
}

// end forwards a DELETE, and deletes the session once the backend has. If the storage is unavailable, the client is
// asked to try again.
func (p *proxy) end(w http.ResponseWriter, r *http.Request, backend *url.URL, id string) {
	ctx := context.WithoutCancel(r.Context()) // the session is over even if the client does not wait for the answer
	p.forward(w, r, backend, id, func(answer *http.Response) error {
		if answer.StatusCode >= 300 && answer.StatusCode != http.StatusNotFound {
			return nil
		}
		return p.sessions.Delete(ctx, id)
	})
}

// refuse translates an error for the client. A 404 makes the client give up its session, so it is sent only if the
// session is known to be gone. It is plain text: the body of a JSON-RPC error would hide it. In an outage, 503 makes
// the client keep its session and try again.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if cut := context.Cause(r.Context()); cut != nil {
		err = cut // of an answer whose headers had not come yet
	}
	switch {
	case errors.Is(err, session.ErrNotFound):
		http.Error(w, sessionGone, http.StatusNotFound)
	case errors.Is(err, session.ErrInvalidID) && r.Header.Get(sessionHeader) != "":
		http.Error(w, "malformed "+sessionHeader, http.StatusBadRequest)
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrClosed), errors.Is(err, errShutdown):
		unavailable(w, "sessions are unavailable at the moment")
	case errors.Is(err, session.ErrExists):
		unavailable(w, "the session could not begin")
	case errors.Is(err, session.ErrCorrupt):
		http.Error(w, "the session is unreadable", http.StatusInternalServerError)
	default:
		http.Error(w, "the backend does not answer", http.StatusBadGateway)
	}
}

const sessionGone = "the session has ended or never existed"

func unavailable(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, text, http.StatusServiceUnavailable)
}
