package mcphttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
)

// Sessions is a handler in front of an MCP server that keeps sessions of its own: go-sdk's StreamableHTTPHandler,
// mcp-go's StreamableHTTPServer, or any other one. It makes them sessions of a storage, which all replicas share: they
// have an owner and a limited life, and can be listed, and ended on any replica. It is safe for concurrent use.
//
// A session is stored under the id that the server has given it, before the client learns the id. If that fails, the
// answer is 503, and the server's own session is ended; 409 if its owner has too many ([session.ErrTooMany]).
//
// From then on, each request with that Mcp-Session-Id loads the session first. If the storage has none, the answer is
// 404, as it is for a request of another owner (see [WithOwner]). A malformed id is 400, and so is a GET or DELETE
// without one. An outage of the storage is 503, and the client keeps its session.
//
// DELETE ends the session in the storage, and then in the server. If the storage fails, the answer is 503, and the
// client may try again. If the server fails or does not allow it (405), the answer is 204 all the same, because no
// request reaches that session any more. It stays in the memory of the server, as does one that expires in the storage,
// so give the server an idle time-out: go-sdk's SessionTimeout, or mcp-go's WithSessionIdleTTL.
//
// Answers that take long keep their session alive, and are cut when it ends, on any replica: those of a GET at once,
// others within a second. Then the server's own session is ended, too. A cut answer whose header has not left becomes a
// 404; one whose header has left ends where it is. The context of a request ends with its answer, as usual, but go-sdk
// does not pass that on to a tool of the legacy era: it works on until it is done. Events are passed on as they come.
//
// A server has its sessions in memory, so the storage alone does not let another replica answer for them: the server
// there answers 404, and the client begins anew. For several replicas, put a [Proxy] in front of them, or a balancer
// that sticks to the session id.
//
// Requests of 2026-07-28 or later (see [Modern]) have no session. They are passed on without an Mcp-Session-Id, and
// their owner is not asked for. A session that a server begins for one of them is ended, and its id does not leave. So
// Sessions may be in front of an [Era] or behind it; in front, Shutdown also cuts the streams of the modern era.
type Sessions struct {
	options

	storage session.Storage
	server  http.Handler
	answers *answers

	// A Proxy's, both may be nil: loaded may refuse a session that a request has, created adds to one that it begins.
	loaded  func(ctx context.Context, s *session.Session) error
	created func(ctx context.Context, s *session.Session) *session.Session
}

// NewSessions returns a Sessions in front of a server. The storage, which must be a [session.Creator], stays the
// caller's to close, after Shutdown. NewSessions panics when the storage is none, or when one of the two is nil.
func NewSessions(st session.Storage, server http.Handler, opts ...Option) *Sessions {
	if _, ok := st.(session.Creator); !ok {
		panic(fmt.Sprintf("mcphttp: NewSessions: the storage, a %T, is no Creator", st))
	}
	if server == nil {
		panic("mcphttp: NewSessions: the server is nil")
	}
	s := &Sessions{options: defaultOptions(), storage: st, server: server}
	for _, opt := range opts {
		opt.applySessions(&s.options)
	}
	s.answers = newAnswers(st, &s.options)
	return s
}

// Shutdown answers all new requests with 503, and cuts those that are being answered: streams at once, calls when they
// have not ended after the time of [WithGrace], or when ctx ends. Their clients keep their sessions, and go on with
// another replica. Shutdown returns nil when all have ended, or the error of ctx. Call it before that of [http.Server],
// which waits for streams to end. It may be called several times.
func (s *Sessions) Shutdown(ctx context.Context) error { return s.answers.shutdown(ctx) }

// ServeHTTP implements [http.Handler].
func (s *Sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := checkHeaders(r.Header); err != nil {
		WriteError(w, err)
		return
	}
	r, body, err := limitBody(w, r, s.maxBody)
	if err != nil {
		WriteError(w, err)
		return
	}
	id := r.Header.Get(sessionHeader)
	switch {
	case Modern(r):
		if id != "" {
			// Also lest it be used unchecked, by a server that takes the request for one of the legacy era.
			r.Header = r.Header.Clone()
			r.Header.Del(sessionHeader)
		}
		_ = s.answers.serve(w, r, "", s.sessionless(body.checked(s.server)))
	case r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodDelete:
		refuseMethod(w)
	case id == "" && r.Method == http.MethodPost:
		s.begin(w, r, body)
	default:
		s.goOn(w, r, body, id)
	}
}

func refuseMethod(w http.ResponseWriter) {
	w.Header().Set("Allow", "GET, POST, DELETE")
	http.Error(w, "the method is not allowed", http.StatusMethodNotAllowed)
}

// begin answers a request that may begin a session.
func (s *Sessions) begin(w http.ResponseWriter, r *http.Request, body *body) {
	owner, err := s.ownerOf(r)
	if err != nil {
		s.fail(w, err)
		return
	}
	_ = s.answers.serve(w, r, "", s.storing(owner, body.checked(s.server)))
}

// goOn answers a request of a session.
func (s *Sessions) goOn(w http.ResponseWriter, r *http.Request, body *body, id string) {
	owner, err := s.ownerOf(r)
	if err == nil {
		err = s.load(r.Context(), id, owner)
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	if r.Method == http.MethodDelete {
		_ = s.answers.serve(w, r, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.end(w, r, id) }))
		return
	}
	// A server may begin another session, if the request is an initialize.
	cut := s.answers.serve(w, r, id, s.storing(owner, body.checked(s.server)))
	if errors.Is(cut, session.ErrNotFound) || errors.Is(cut, session.ErrCorrupt) {
		s.endInServer(r, id)
	}
}

// load finds the session of a request. What the storage has beside sessions has ids, too, which a client may name.
func (s *Sessions) load(ctx context.Context, id, owner string) error {
	load := s.storage.Load
	if s.owner != nil {
		load = func(ctx context.Context, id string) (*session.Session, error) {
			return session.LoadOwned(ctx, s.storage, id, owner)
		}
	}
	switch found, err := load(ctx, id); {
	case err != nil:
		return err
	case found.Type() != session.TypeStreamable:
		return session.ErrNotFound
	case s.loaded != nil:
		return s.loaded(ctx, found)
	}
	return nil
}

// storing returns a handler that stores each session which the next one begins, before its id leaves.
func (s *Sessions) storing(owner string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		abandoned := ""
		out := &writer{ResponseWriter: w, check: func(status int) error {
			id := w.Header().Get(sessionHeader)
			if id == "" || id == r.Header.Get(sessionHeader) || status >= http.StatusMultipleChoices {
				return nil
			}
			err := s.create(ctx, id, owner)
			if err != nil {
				w.Header().Del(sessionHeader)
				abandoned = id
				cancel() // the rest of the answer is dropped, which may be a stream
			}
			return err
		}}
		serveCut(ctx, out, r.WithContext(ctx), next)
		if ctx.Err() == nil {
			out.begin() // the handler has set a header at most
		}
		if abandoned != "" {
			awaitEnding(s.endInServer(r, abandoned))
		}
	})
}

// sessionless returns a handler that ends each session which the next one begins: a server has taken a request of the
// modern era for one of the other. Its owner was not asked for, so it may begin none. go-sdk's handler with sessions
// begins one for each server/discover of a client that then falls back.
func (s *Sessions) sessionless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := ""
		defer func() {
			if begun != "" {
				s.endInServer(r, begun)
			}
		}()
		next.ServeHTTP(&writer{ResponseWriter: w, check: func(int) error {
			begun = w.Header().Get(sessionHeader)
			w.Header().Del(sessionHeader)
			if begun != "" && s.created != nil {
				s.created(r.Context(), session.New(begun))
			}
			return nil
		}}, r)
	})
}

// create stores a session. What keeps it from being stored is no fault of the client, which may try again, unless its
// user has too many.
func (s *Sessions) create(ctx context.Context, id, owner string) error {
	began := session.New(id).WithType(session.TypeStreamable).WithPrincipal(owner)
	if s.created != nil {
		began = s.created(ctx, began)
	}
	err := session.Create(ctx, s.storage, began)
	if err == nil || errors.Is(err, session.ErrTooMany) {
		return err
	}
	s.logger.Warn("mcphttp: a session could not be stored", "error", errs.Shown(err))
	return errNotStored
}

// end answers a DELETE. First the storage: (1) the server ends its session, (2) the storage fails, (3) the client keeps
// a session that no server knows.
func (s *Sessions) end(w http.ResponseWriter, r *http.Request, id string) {
	// The session is to end even if the client does not wait for the answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.grace)
	defer cancel()
	if err := s.storage.Delete(ctx, id); err != nil {
		s.fail(w, err)
		return
	}
	awaitEnding(s.endInServer(r, id))
	w.WriteHeader(http.StatusNoContent)
}
