package session

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/nearcache"
)

// RemoteHook is called before each call of the remote. The context that it returns is that of the call, and end is
// called once when the call has ended, with its error or nil. Neither may be nil. A hook must be safe for concurrent
// use, and must not block.
//
// op is one of "load", "peek", "revalidate", "store", "create", "replace", "delete", "take", "delete expired",
// "revoke" and "sessions", which lasts as long as the caller's loop. The error is one of this package: its text has no
// id, and nothing of a session. Nor does the hook get these in another way, so that no trace shows them. Fences and
// the subscription to change events are no calls in this sense. The context has the values of the caller's, or if
// several callers share a load, those of the first; of a background call, as the renewals of [KeepAlive] are, it has
// none.
type RemoteHook func(ctx context.Context, op string) (_ context.Context, end func(err error))

// errPanicked is what a hook is told of a call that has panicked.
var errPanicked = opErrBecause("", ErrUnavailable, errs.SafeError("a call of the remote panicked"))

// call makes a call of the remote that the hook sees. The error of f is one of this package.
func (rt *RoutingStorage) call(ctx context.Context, op string, f func(ctx context.Context) error) (err error) {
	if rt.hook == nil {
		return f(ctx)
	}
	ctx, end := rt.hook(ctx, op)
	err = errPanicked
	defer func() { end(err) }()
	return f(ctx)
}

// callForKeeper is call for the renewals of [KeepAlive], which no caller waits for: it contains a panic, and counts
// what has failed.
func (rt *RoutingStorage) callForKeeper(ctx context.Context, op string, f func(ctx context.Context) error) error {
	err := rt.cache.Contained(func() error { return rt.call(ctx, op, f) })
	switch {
	case errors.As(err, new(*nearcache.PanicError)):
		err = panicked(op, err)
	case err == nil, errs.Unsupported(err), errors.Is(ctx.Err(), context.Canceled): // its last caller has left
		return err
	}
	rt.refreshFailed(err)
	return err
}

// panicked returns the error of a call that has panicked.
func panicked(op string, err error) error {
	return opErrBecause(op, ErrUnavailable, errs.Because("a call of the remote panicked", err))
}

// loadRemote is the question that the cache asks. The context is not the caller's: others wait for the answer, too.
func (rt *RoutingStorage) loadRemote(ctx context.Context, id string) (s *Session, revision uint64, err error) {
	err = rt.call(ctx, "load", func(ctx context.Context) error {
		s, err = rt.remote.Load(ctx, id)
		switch {
		case err != nil:
			return rt.remoteError(context.Background(), "load", err)
		case s == nil || s.id != id:
			return opErrBecause("load", ErrCorrupt, errWrongID)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return s, s.Revision(), nil
}

// checkAnswer returns why what another storage has loaded for an id is no session that may be served, or nil.
func checkAnswer(op, id string, s *Session) error {
	if err := checkTaken(op, id, s); err != nil {
		return err
	}
	if s.Expired(time.Now()) { // while the answer was on its way
		return opErr(op, ErrNotFound)
	}
	return nil
}

// checkTaken returns why what another storage has taken for an id is no session of it, or nil. One that has expired
// while the answer was on its way was taken all the same: "not found" would say that the call had no effect.
func checkTaken(op, id string, s *Session) error {
	if s == nil || s.id != id {
		return opErrBecause(op, ErrCorrupt, errWrongID)
	}
	return nil
}

// revalidate is the question about many sessions that the cache asks.
func (rt *RoutingStorage) revalidate(remote Revalidator) func(context.Context, []nearcache.Use) ([]bool, error) {
	return func(ctx context.Context, uses []nearcache.Use) (unchanged []bool, err error) {
		own := make([]Use, len(uses))
		for i, u := range uses {
			own[i] = Use(u)
		}
		err = rt.call(ctx, "revalidate", func(ctx context.Context) error {
			unchanged, err = remote.Revalidate(ctx, own)
			return inOurTerms("revalidate", err)
		})
		return unchanged, err
	}
}

// Ready returns nil once the remote has answered a call of this storage, which it makes if there was none yet: a
// load of a random id. From then on it sends nothing, and stays nil until Close, also in an outage of the remote:
// use it for a readiness probe, which keeps traffic from a replica that was set up wrongly, and must not take out
// all replicas at once. It does not wait for change events, without which everything works at a higher cost; [Stats]
// tells of them. Nor does it try whether the remote takes writes.
//
// The errors are [ErrUnavailable], [ErrClosed], and the end of ctx. It takes no longer than [WithLoadTimeout] allows.
func (rt *RoutingStorage) Ready(ctx context.Context) error {
	const op = "ready"
	switch {
	case rt.cache.Closed():
		return opErr(op, ErrClosed)
	case rt.cache.Answered():
		return nil
	}
	if _, err := rt.ask(ctx, op, NewID(), rt.cache.Fetch); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// lacks returns the error of a call that needs a capability which the remote does not have.
func (rt *RoutingStorage) lacks(op, capability string) error {
	return opErrBecause(op, errors.ErrUnsupported, errs.Reason("the remote, a %T, is not a %s", rt.remote, capability))
}

// remoteError passes on what the remote says in this package's terms. Every other error is an outage.
func (rt *RoutingStorage) remoteError(ctx context.Context, op string, err error) error {
	if sentinel := sentinelOf(err); sentinel != nil {
		return passOn(op, sentinel, err)
	}
	switch {
	case errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled):
		return opErrBecause(op, context.Canceled, err)
	case rt.cache.Closed():
		return opErrBecause(op, ErrClosed, err)
	}
	return opErrBecause(op, ErrUnavailable, err)
}

// isAnswer reports whether an error is the remote's answer about a session. Every other error is an outage, which says
// nothing about the session.
func isAnswer(err error) bool {
	sentinel := sentinelOf(err)
	return sentinel != nil && sentinel != ErrUnavailable && sentinel != ErrClosed //nolint:errorlint // it is one of ours
}

// isMissing reports whether an error is the remote's answer that there is no session.
func isMissing(err error) bool { return sentinelOf(err) == ErrNotFound } //nolint:errorlint // it is one of ours

// isAway reports whether an error of a watch means that the remote cannot be reached. A refusal does not, nor does a
// connection that was closed: a proxy that knows no events closes it, and answers everything else.
func isAway(err error) bool {
	var failure net.Error
	if !errors.As(err, &failure) {
		return false
	}
	var op *net.OpError
	return failure.Timeout() || errors.As(err, &op) && op.Op == "dial"
}
