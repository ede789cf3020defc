package session

import (
	"context"
	"errors"

	"github.com/seed34611480/session/internal/errs"
)

// LoadFresh is Load for the few requests that must not be stale at all: it asks the remote now, whatever is local. It
// returns the state that the remote has during the call, so every change that was acknowledged before LoadFresh was
// called, through any replica, is seen. It costs a round trip. Like Load it is a use of the session, its result becomes
// the local copy, and a session that is not there any more is not served locally from then on.
//
// The errors are those of Load. In an outage it is [ErrUnavailable], even with [WithStaleIfError]. [WithLoadTimeout]
// and [WithLoadConcurrency] hold as for Load; calls that wait for their turn to ask for the same session share one
// remote load.
func (rt *RoutingStorage) LoadFresh(ctx context.Context, id string) (*Session, error) {
	s, err := rt.ask(ctx, "load fresh", id, rt.cache.FetchFresh)
	return s, rt.failedLoads.count(err)
}

// Peek implements [Peeker]. While change events flow, a local copy that was fetched since they do may answer; that
// sends nothing, and does not look at the context. Otherwise the remote's Peek answers, bounded by the context alone.
// So a caller of Watch that peeks after a [Gap] sees what the missing events would have told. Peek is no use of the
// session: neither the local copy nor the stored session lives any longer, and what the remote returns does not become
// a local copy. With [WithStaleIfError] it returns no older state.
//
// If the remote is no Peeker, the error matches [errors.ErrUnsupported], also when there is a local copy.
func (rt *RoutingStorage) Peek(ctx context.Context, id string) (*Session, error) {
	if rt.peeker == nil {
		return nil, rt.lacks("peek", "Peeker")
	}
	if s := rt.cache.Peek(id); s != nil {
		return s, nil
	}
	s, err := rt.peekRemote(ctx, id)
	return s, rt.failedLoads.count(err)
}

// peekRemote makes no copy: how long the remote keeps the session is not known here, nor is it the caller's wish.
func (rt *RoutingStorage) peekRemote(ctx context.Context, id string) (s *Session, err error) {
	if err := checkCall(ctx, "peek", id); err != nil {
		return nil, err
	}
	if rt.cache.Closed() {
		return nil, opErr("peek", ErrClosed)
	}
	err = rt.call(ctx, "peek", func(ctx context.Context) error {
		if s, err = rt.peeker.Peek(ctx, id); err != nil {
			return rt.remoteError(ctx, "peek", err)
		}
		return checkAnswer("peek", id, s)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Fence returns nil when every change that was acknowledged before Fence was called, through any replica, is seen by
// every load that starts after it has returned, on every replica: a session that was deleted before is not served
// anywhere. One Fence suffices after any number of changes.
//
// It usually takes two round trips to the remote, and a third on a Cluster. It takes MaxStaleness and two thousandths
// of that at most, also when a replica or the remote does not answer: by then no replica serves anything older. So it
// does not fail because of an outage. It is about loads: a caller of Watch may learn of a change a moment later.
//
// It needs [WithFencing] on all replicas, and is [errors.ErrUnsupported] without it on this one. Other errors are
// [ErrClosed] and the end of ctx; then it is unknown what other replicas have seen.
func (rt *RoutingStorage) Fence(ctx context.Context) error {
	switch {
	case rt.holder == nil:
		return opErrBecause("fence", errors.ErrUnsupported, errs.Reason("the storage was made without WithFencing"))
	case rt.cache.Closed():
		return opErr("fence", ErrClosed)
	}
	err := rt.holder.Fence(ctx)
	if err != nil && ctx.Err() != nil {
		return opErr("fence", ctx.Err())
	}
	return inOurTerms("fence", err)
}
