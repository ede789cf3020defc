package session

import (
	"context"
	"crypto/subtle"
	"errors"
	"math/rand/v2"
	"time"
)

// Update changes a stored session. It loads the session, calls change, and stores the result. If another writer has
// changed the session meanwhile, it starts again. It returns the session that is stored now.
//
// change returns the session to store, derived from the one that it is given. To leave the stored session as it is,
// change returns nil or the session that it was given. It may be called several times, and must not have other effects.
// An error of change ends Update, which returns it as it is. Update retries until it succeeds, the context ends, or the
// storage fails.
func Update(
	ctx context.Context, st Storage, id string, change func(*Session) (*Session, error),
) (*Session, error) {
	for attempt := 0; ; attempt++ {
		current, err := st.Load(ctx, id)
		if err != nil {
			return nil, err
		}
		changed, err := change(current)
		if err != nil {
			return nil, err
		}
		if changed == nil || changed == current {
			return current, nil
		}
		if changed.id != id {
			return nil, opErr("update", ErrInvalidID)
		}
		// Whatever change returned, it was based on current, and must not replace any other state.
		changed = changed.snapshot(current.Revision())
		err = st.Store(ctx, changed)
		if err == nil {
			return changed, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, opErr("update", err)
		}
	}
}

// pause spreads writers that collided: it waits a random time of up to 1 ms after the first collision, up to 64 ms
// after many.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(attempt, 6))) //nolint:gosec // not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LoadOwned loads a session on behalf of a principal. If the session belongs to another principal or has no owner, the
// error is [ErrNotFound], as if it did not exist. Principals are compared in constant time.
func LoadOwned(ctx context.Context, st Storage, id, principal string) (*Session, error) {
	s, err := st.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.principal == "" || subtle.ConstantTimeCompare([]byte(s.principal), []byte(principal)) != 1 {
		return nil, opErr("load owned", ErrNotFound)
	}
	return s, nil
}

// Renew gives a session a new id, destroys the old one, and returns the session under its new id. Call it when a user
// logs in or gains rights: an old id that an attacker knew or planted is worthless from then on. s must come from the
// storage. It may have been changed since; the change is stored too.
//
// The error is ErrNotFound or ErrConflict if s is no longer what is stored; nothing has happened then. The old id is
// dead before the new one exists: a failure in between costs the session, and its user has to log in again.
//
// If the storage is not a [Taker], a session that is deleted during the call may live on under its new id.
func Renew(ctx context.Context, st Storage, s *Session) (*Session, error) {
	if s == nil {
		return nil, opErr("renew", ErrInvalidID)
	}
	if s.Revision() == 0 {
		return nil, opErr("renew", ErrNotFound)
	}
	current := s.clone()
	if err := st.Store(ctx, current); err != nil { // is s still what is stored?
		return nil, err
	}
	current, err := take(ctx, st, current)
	if err != nil {
		return nil, err
	}
	renewed := current.Detached()
	renewed.id = NewID()
	if err := st.Store(ctx, renewed); err != nil {
		return nil, err
	}
	return renewed, nil
}

// take removes a session, and returns what was stored at that moment: another writer may have changed it since it was
// loaded.
func take(ctx context.Context, st Storage, s *Session) (*Session, error) {
	if taker, ok := st.(Taker); ok {
		taken, err := taker.Take(ctx, s.id)
		if !errors.Is(err, errors.ErrUnsupported) {
			return taken, err
		}
	}
	return s, st.Delete(ctx, s.id)
}

// Sweep calls DeleteExpired for sessions that were idle for at least the given time. It does so once at the start and
// then at the given interval, until the context ends, and returns the context's error. After a failed call it tries
// again at the next interval. It panics if one of the durations is not positive. Only storages that do not expire
// sessions by themselves need it; MemoryStorage and RedisStorage do.
func Sweep(ctx context.Context, st Storage, every, idle time.Duration) error {
	if every <= 0 || idle <= 0 {
		panic("session: Sweep: durations must be positive")
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		_ = st.DeleteExpired(ctx, time.Now().Add(-idle))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
