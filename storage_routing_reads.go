package session

import (
	"context"
	"errors"
	"time"

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
	return rt.fetch(ctx, "load fresh", id, rt.cache.FetchFresh)
}

// Peek implements [Peeker]. A local copy answers if it could answer a [RoutingStorage.Load]; that sends nothing, and
// does not look at the context. Otherwise the remote's Peek does, bounded by the context alone. Peek is no use of the
// session: neither the local copy nor the stored session lives any longer, and what the remote returns does not become
// a local copy. With [WithStaleIfError] it returns no older state.
//
// If the remote is no Peeker, the error matches [errors.ErrUnsupported], also when there is a local copy.
func (rt *RoutingStorage) Peek(ctx context.Context, id string) (*Session, error) {
	if rt.peeker == nil {
		return nil, opErrBecause("peek", errors.ErrUnsupported, errs.Reason("the remote, a %T, is not a Peeker", rt.remote))
	}
	if s := rt.cache.Peek(id); s != nil {
		return s, nil
	}
	if err := checkCall(ctx, "peek", id); err != nil {
		return nil, err
	}
	if rt.cache.Closed() {
		return nil, opErr("peek", ErrClosed)
	}
	s, err := rt.peeker.Peek(ctx, id)
	switch {
	case err != nil:
		return nil, rt.remoteError(ctx, "peek", err)
	case s == nil || s.id != id:
		return nil, opErrBecause("peek", ErrCorrupt, errWrongID)
	case s.Expired(time.Now()): // while the answer was on its way
		return nil, opErr("peek", ErrNotFound)
	}
	// It does not become a copy: how long the remote keeps the session is not known here, nor is it the caller's wish.
	return s, nil
}
