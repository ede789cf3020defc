package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync/atomic"

	"github.com/seed34611480/session"
)

const (
	sessionHeader = "Mcp-Session-Id"
	backendKey    = "backend_url"
)

// proxy sends every request of an MCP session to the backend that holds the session. It keeps its knowledge in the
// storage, so any number of replicas can share the work, behind a balancer that knows nothing of sessions.
//
// It does not authenticate its users. A proxy that does would also store the owner (session.WithPrincipal), and load
// with session.LoadOwned.
type proxy struct {
	sessions  session.Storage
	backends  []*url.URL
	transport http.RoundTripper
	closing   <-chan struct{} // closed when the long-lived streams have to end
	log       *log.Logger
	opened    atomic.Uint64 // number of sessions so far, which are spread over the backends in turn
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
	switch r.Method {
	case http.MethodGet:
		p.stream(w, r, backend)
	case http.MethodDelete:
		p.end(w, r, backend, id)
	default:
		p.forward(w, r, backend, nil)
	}
}

// open forwards a request that has no session yet. If the answer contains a session id, the session is stored before
// the client learns the id: the client's next request may reach any replica.
func (p *proxy) open(w http.ResponseWriter, r *http.Request) {
	backend := p.backends[p.opened.Load()%uint64(len(p.backends))]
	// A name may have many addresses, and only the one that was dialled holds the session.
	address := backend.Host
	trace := httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { address = c.Conn.RemoteAddr().String() }}
	ctx := httptrace.WithClientTrace(r.Context(), &trace)

	p.forward(w, r.WithContext(ctx), backend, func(answer *http.Response) error {
		id := answer.Header.Get(sessionHeader)
		if id == "" {
			return nil
		}
		p.opened.Add(1)
		s := session.New(id).WithType(session.TypeStreamable).With(backendKey, backend.Scheme+"://"+address)
		return p.sessions.Store(ctx, s)
	})
}

// end forwards a DELETE, and deletes the session once the backend has. If the storage is unavailable, the client is
// asked to try again.
func (p *proxy) end(w http.ResponseWriter, r *http.Request, backend *url.URL, id string) {
	ctx := context.WithoutCancel(r.Context()) // the session is over even if the client does not wait for the answer
	p.forward(w, r, backend, func(answer *http.Response) error {
		if answer.StatusCode >= 300 && answer.StatusCode != http.StatusNotFound {
			return nil
		}
		return p.sessions.Delete(ctx, id)
	})
}

// stream forwards a stream of server-sent events. It lasts as long as the client wants, so a replica that shuts down
// has to cut it. The client then opens a new one through another replica.
func (p *proxy) stream(w http.ResponseWriter, r *http.Request, backend *url.URL) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-p.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	p.forward(w, r.WithContext(ctx), backend, nil)
}

// forward sends a request to a backend. The hook answered, if any, runs before the client sees the answer. If it
// returns an error, the client gets that error instead.
func (p *proxy) forward(
	w http.ResponseWriter, r *http.Request, backend *url.URL, answered func(*http.Response) error,
) {
	reverse := httputil.ReverseProxy{
		// SetURL also replaces the Host: a backend on loopback refuses any other.
		Rewrite:        func(out *httputil.ProxyRequest) { out.SetURL(backend); out.SetXForwarded() },
		Transport:      p.transport,
		FlushInterval:  -1, // events must not wait in a buffer
		ModifyResponse: answered,
		ErrorHandler:   refuse,
		ErrorLog:       p.log,
	}
	reverse.ServeHTTP(w, r)
}

// refuse translates an error for the client. A 404 makes the client give up its session, so it is sent only if the
// session is known to be gone. It is plain text: the body of a JSON-RPC error would hide it. In an outage, 503 makes
// the client keep its session and try again.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	switch {
	case errors.Is(err, session.ErrNotFound):
		http.Error(w, sessionGone, http.StatusNotFound)
	case errors.Is(err, session.ErrInvalidID):
		http.Error(w, "malformed "+sessionHeader, http.StatusBadRequest)
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrClosed):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "sessions are unavailable at the moment", http.StatusServiceUnavailable)
	case errors.Is(err, session.ErrCorrupt):
		http.Error(w, "the session is unreadable", http.StatusInternalServerError)
	default:
		http.Error(w, "the backend does not answer", http.StatusBadGateway)
	}
}

const sessionGone = "the session has ended or never existed"
