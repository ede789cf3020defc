package session

import (
	"context"
	"iter"
	"time"
)

// Revoke implements [Revoker] with the remote's Revoke, and is [errors.ErrUnsupported] if it has none. After it has
// returned nil, loads through this storage do not find the sessions any more, and through other replicas within
// MaxStaleness, usually at once. With [WithFencing] it waits as [RoutingStorage.Fence] does: after it has returned nil,
// no replica serves any of them.
//
// Without fencing, one case also takes up to MaxStaleness through this storage: the session was given to the principal
// through another replica just now, and the local copy still has its former owner.
//
// The number of sessions is also returned beside an error, which may be that of the fence: then they are deleted, but
// for the end of ctx it is unknown what other replicas have seen.
func (rt *RoutingStorage) Revoke(ctx context.Context, principal string) (revoked int, err error) {
	const op = "revoke"
	if rt.revoker == nil {
		return 0, rt.lacks(op, "Revoker")
	}
	if err := rt.mayAsk(ctx, op); err != nil {
		return 0, rt.failedWrites.count(err)
	}
	if principal == "" {
		return 0, nil // no session belongs to that: the copies of those without an owner stay
	}
	revoked, err = rt.revokeRemote(ctx, op, validText(principal))
	switch {
	case err != nil:
		return revoked, rt.failedWrites.count(err)
	case rt.holder == nil:
		return revoked, nil
	}
	return revoked, rt.Fence(ctx)
}

// revokeRemote drops the local copies when the remote has answered, or has failed to: some of the sessions may be gone
// then. Before that, a load might bring one of them back.
func (rt *RoutingStorage) revokeRemote(ctx context.Context, op, principal string) (revoked int, err error) {
	defer rt.cache.Forgotten(func(s *Session) bool { return s.principal == principal })
	err = rt.call(ctx, op, func(ctx context.Context) error {
		if revoked, err = rt.revoker.Revoke(ctx, principal); err != nil {
			return rt.remoteError(ctx, op, err)
		}
		return nil
	})
	return revoked, err
}

// Sessions implements [Lister] with the remote's Sessions, and is [errors.ErrUnsupported] if it has none. What it
// returns does not become a local copy.
func (rt *RoutingStorage) Sessions(ctx context.Context, principal string) iter.Seq2[*Session, error] {
	const op = "sessions"
	return func(yield func(*Session, error) bool) {
		if rt.lister == nil {
			yield(nil, rt.lacks(op, "Lister"))
			return
		}
		if err := rt.mayAsk(ctx, op); err != nil {
			yield(nil, rt.failedLoads.count(err))
			return
		}
		err := rt.call(ctx, op, func(ctx context.Context) error {
			return rt.remoteSessions(ctx, op, principal, yield)
		})
		if err != nil {
			yield(nil, rt.failedLoads.count(err))
		}
	}
}

func (rt *RoutingStorage) remoteSessions(
	ctx context.Context, op, principal string, yield func(*Session, error) bool,
) error {
	for s, err := range rt.lister.Sessions(ctx, principal) {
		if err != nil {
			return rt.remoteError(ctx, op, err)
		}
		if s == nil || s.principal != validText(principal) || s.Expired(time.Now()) { // while the answer was on its way
			continue
		}
		if !yield(s, nil) {
			return nil
		}
	}
	return nil
}

// mayAsk begins a call that is about no single id.
func (rt *RoutingStorage) mayAsk(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return opErr(op, err)
	}
	if rt.cache.Closed() {
		return opErr(op, ErrClosed)
	}
	return nil
}
