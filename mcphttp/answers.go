package mcphttp

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

// answers are the requests that are being answered. Each of them keeps its session alive, and is cut when the session
// ends, through any replica, or at the shutdown.
type answers struct {
	sessions session.Storage
	grace    time.Duration

	streams, calls context.Context // end when streams and calls are cut
	cutStreams     context.CancelCauseFunc
	cutCalls       context.CancelCauseFunc

	mu     sync.Mutex // protects following fields
	open   int
	ending bool          // no new ones
	ended  chan struct{} // closed when ending and none is open
}

// longAfter is how long a call takes before its session is kept alive. A call that is shorter has loaded its session,
// which is enough, and does not pay for more.
const longAfter = time.Second

func newAnswers(st session.Storage, o *options) *answers {
	a := &answers{sessions: st, grace: o.grace, ended: make(chan struct{})}
	a.streams, a.cutStreams = context.WithCancelCause(context.Background())
	a.calls, a.cutCalls = context.WithCancelCause(context.Background())
	return a
}

// serve answers a request by the next handler, whose context ends with the cause why the answer is cut, if it is: an
// error of [session.KeepAlive], or [ErrShutdown]. id is that of the request's session, which was loaded just now; it
// is empty if there is none. serve returns why the context has ended before the handler has, or nil.
//
// A cut answer whose header has left ends where it is. One whose header has not left becomes the answer to its cause,
// also when the next handler makes an error of its own from the end of its context: a ReverseProxy's 502 would leave
// the client with a session that is gone.
func (a *answers) serve(w http.ResponseWriter, r *http.Request, id string, next http.Handler) error {
	if !a.enter() {
		WriteError(w, ErrShutdown)
		return ErrShutdown
	}
	defer a.leave()
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	cutter := newCutter(w, r, end)
	defer cutter.done()
	limit, stream := a.calls, isStream(r)
	if stream {
		limit = a.streams
		cutter.unlimited()
	}
	defer context.AfterFunc(limit, func() { cutter.cut(ErrShutdown) })()
	if id != "" {
		defer a.keepAlive(ctx, id, stream, cutter)()
	}
	out := &writer{ResponseWriter: w, check: func(status int) error {
		if isEvents(w.Header()) {
			cutter.unlimited()
		}
		if status < http.StatusBadRequest {
			return nil // it is complete, or has begun
		}
		return context.Cause(ctx)
	}}
	if ctx.Err() == nil {
		serveCut(ctx, out, r.WithContext(ctx), next)
	}
	cause := context.Cause(ctx)
	if cause != nil {
		out.refuse(cause)
	}
	return cause
}

// keepAlive keeps a session alive until ctx ends, and cuts the answer when the session ends. It does so at once for a
// stream, and otherwise when the answer has become long.
func (a *answers) keepAlive(ctx context.Context, id string, stream bool, cutter *cutter) (stop func() bool) {
	keep := func() {
		kept, stop := session.KeepAlive(ctx, a.sessions, id)
		context.AfterFunc(kept, func() {
			stop()
			cutter.cut(context.Cause(kept))
		})
	}
	if stream {
		keep()
		return func() bool { return true } // the end of ctx stops it
	}
	return time.AfterFunc(longAfter, keep).Stop
}

// serveCut calls the next handler. One that was cut may panic with ErrAbortHandler, as a ReverseProxy does: that would
// break the connection, and the client would not get the answer to the cause, or see a stream end.
func serveCut(ctx context.Context, w *writer, r *http.Request, next http.Handler) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		ends := !w.began || w.refused || isEvents(w.Header())
		if value == http.ErrAbortHandler && ctx.Err() != nil && ends { //nolint:errorlint // it is never wrapped
			return
		}
		panic(value)
	}()
	next.ServeHTTP(w, r)
}

func (a *answers) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending {
		return false
	}
	a.open++
	return true
}

func (a *answers) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	if a.ending && a.open == 0 {
		close(a.ended)
	}
}

// shutdown refuses new requests, cuts streams now, and calls after the grace or when ctx ends. It returns nil when all
// have ended, or the error of ctx.
func (a *answers) shutdown(ctx context.Context) error {
	a.mu.Lock()
	if !a.ending {
		a.ending = true
		if a.open == 0 {
			close(a.ended)
		}
	}
	a.mu.Unlock()
	a.cutStreams(ErrShutdown)
	defer time.AfterFunc(a.grace, func() { a.cutCalls(ErrShutdown) }).Stop()
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
		a.cutCalls(ErrShutdown)
	}
	select {
	case <-a.ended: // both were true
		return nil
	default:
		return ctx.Err()
	}
}
