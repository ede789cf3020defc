package session

import (
	"context"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// KeepAlive keeps a session alive while something long goes on, such as a stream or a call of minutes, and ends the
// context that it returns when the session ends. Call the function that it returns when the long work is done, whatever
// has ended it.
//
//	ctx, stop := session.KeepAlive(r.Context(), sessions, id)
//	defer stop()
//	err := serveStream(ctx, w)
//	if ctx.Err() != nil { // err says only that the context has ended
//		err = context.Cause(ctx)
//	}
//
// The cause of the context's end matches [ErrNotFound] when the session was deleted or taken, through any replica, or
// has expired; [ErrCorrupt] when it was replaced by something that is no session; [ErrClosed] when the storage was
// closed; or it is that of ctx. When the session is gone already, or id is invalid ([ErrInvalidID]), the context has
// ended when KeepAlive returns. An outage of the storage is no end: the context goes on, and the session is kept alive
// when the storage is back in time.
//
// KeepAlive begins with a Load, which is a use of the session, and waits for it. Then it renews the session, each time
// after an eighth to a quarter of its idle time; once or twice a minute, if the storage does not tell its TTL, or to
// see whether a session with [NoIdleTimeout] is still there. A session that is stored anew under the same id after it
// was deleted is another one. KeepAlive is safe for concurrent use, and may be called any number of times for one
// session.
//
// All calls for one [RoutingStorage], [RedisStorage] or [MemoryStorage] share what that costs. They watch the storage
// once, so they learn of a removal as soon as it is reported; of what no event tells, such as redis-cli DEL, with the
// next renewal. A RoutingStorage shares its own subscription. Renewals do not go through its local tier: 10,000 streams
// evict no session, and renew up to 64 of them with one command, if the remote is a [Revalidator]. [Stats] counts them,
// the hook of [WithRemoteHook] sees them, and it is logged when they begin to fail, see [WithLogger]. No other storage
// tells of renewals that fail.
//
// For any other storage, one that wraps these included, each call loads its session by itself, as often as it has to be
// renewed, and learns of its end from that: and of a shorter idle time, so that may come too late.
func KeepAlive(ctx context.Context, st Storage, id string) (context.Context, context.CancelFunc) {
	kept, end := context.WithCancelCause(ctx)
	if err := ValidateID(id); err != nil {
		end(opErr("keep alive", err))
		return kept, func() {}
	}
	leave := keeperOf(st).keep(kept, id, end)
	context.AfterFunc(kept, leave)
	return kept, func() {
		leave()
		end(nil)
	}
}

// keeperOf returns the keeper that all calls for a storage share. A type that embeds one of these storages gets one of
// its own for each call: it may have other ids, and it may end sessions by its own rules.
func keeperOf(st Storage) *keeper {
	switch st := st.(type) {
	case *MemoryStorage:
		return st.keeper.of(func() keepable {
			ask := keepableOf(st)
			ask.watch = st.Watch
			return ask
		})
	case *RedisStorage:
		return st.keeper.of(func() keepable {
			ask := keepableOf(st)
			ask.watch = st.Watch
			return ask
		})
	case *RoutingStorage:
		return st.keeper.of(func() keepable {
			ask := keepableBy(st.callForKeeper, st.remote)
			ask.load, ask.watch = st.Load, st.Watch
			ask.renewed, ask.news = func() { st.kept.Add(1) }, st.cache
			return ask
		})
	}
	return new(keeper).of(func() keepable { return keepableOf(st) })
}

// keepable is how a keeper asks a storage. Its functions may be called at any time, and do not panic. Their errors are
// this package's.
type keepable struct {
	load  func(ctx context.Context, id string) (*Session, error)  // a use, for a new caller
	use   func(ctx context.Context, id string) (*Session, error)  // a use
	look  func(ctx context.Context, id string) (*Session, error)  // no use, where the storage can do that
	renew func(ctx context.Context, uses []Use) ([]bool, error)   // nil: the storage has none
	watch func(context.Context, time.Duration, func(Event)) error // nil: it is not watched
	ttl   time.Duration                                           // 0: not known

	renewed func()   // is called for each session that was renewed
	news    keepNews // nil: nothing is told
}

// keepNews is told, for the log, whether sessions can be renewed.
type keepNews interface {
	KeepFails(err error) // some cannot, and will be asked for again
	KeepWorks()          // all could that were due
	KeepEnds()           // there is none any more
}

// calling makes a call of a storage. It contains a panic, and returns an error of this package.
type calling func(ctx context.Context, op string, f func(ctx context.Context) error) error

func keepableOf(st Storage) keepable {
	return keepableBy(func(ctx context.Context, op string, f func(ctx context.Context) error) (err error) {
		defer contain(op, &err)
		return f(ctx)
	}, st)
}

func keepableBy(call calling, st Storage) keepable {
	ask := keepable{use: asked(call, "load", st.Load), renewed: func() {}}
	ask.load, ask.look = ask.use, ask.use
	if peeker, ok := st.(Peeker); ok {
		peek := asked(call, "peek", peeker.Peek)
		ask.look = func(ctx context.Context, id string) (*Session, error) {
			s, err := peek(ctx, id)
			if errs.Unsupported(err) {
				return ask.use(ctx, id)
			}
			return s, err
		}
	}
	if revalidator, ok := st.(Revalidator); ok {
		ask.renew = func(ctx context.Context, uses []Use) (unchanged []bool, err error) {
			err = call(ctx, "revalidate", func(ctx context.Context) error {
				unchanged, err = revalidator.Revalidate(ctx, uses)
				if err == nil && len(unchanged) != len(uses) {
					err = errs.Reason("Revalidate has returned %d answers for %d sessions", len(unchanged), len(uses))
				}
				return inOurTerms("revalidate", err)
			})
			return unchanged, err
		}
	}
	if expirer, ok := st.(Expirer); ok {
		ask.ttl = max(0, expirer.TTL())
	}
	return ask
}

// asked returns a question whose answer can be believed.
func asked(
	call calling, op string, question func(context.Context, string) (*Session, error),
) func(context.Context, string) (*Session, error) {
	return func(ctx context.Context, id string) (s *Session, err error) {
		err = call(ctx, op, func(ctx context.Context) error {
			if s, err = question(ctx, id); err != nil {
				return inOurTerms(op, err)
			}
			return checkAnswer(op, id, s)
		})
		return s, err
	}
}

// contain turns a panic of a storage into an outage, on a goroutine where its caller could not recover it. Defer it.
func contain(op string, err *error) {
	if value := recover(); value != nil {
		*err = opErrBecause(op, ErrUnavailable, errs.Reason("panic (%T) in a call to the storage", value))
	}
}

// of returns the keeper, after it has learnt how to ask.
func (k *keeper) of(ask func() keepable) *keeper {
	k.once.Do(func() { k.ask = ask() })
	return k
}

// isEnd reports whether an error says that a session cannot be kept alive any more.
func isEnd(err error) bool {
	switch sentinelOf(err) {
	case ErrNotFound, ErrCorrupt, ErrInvalidID, ErrClosed: //nolint:errorlint // it is one of ours
		return true
	}
	return false
}
