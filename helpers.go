package session

import (
	"context"
	"crypto/subtle"
	"errors"
	"math/rand/v2"
	"time"
)

// Update changes a stored session: it loads it, calls change, stores the result if nobody else has changed the session
// meanwhile, and starts again if somebody has. It returns the session that is stored now.
//
// change returns the session that is to be stored, derived from the one it is given, or nil (or the one it is given) to
// leave things as they are. It may be called several times and must not have other effects. An error of change ends
// Update and is returned as it is. Update goes on until it succeeds, or the context ends, or the storage fails.
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
			return nil, fail("update", ErrInvalidID)
		}
		// Whatever change did, it was based on current, and must not be stored over anything else.
		changed = changed.snapshot(current.Revision())
		err = st.Store(ctx, changed)
		if err == nil {
			return changed, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, fail("update", err)
		}
	}
}

// pause lets writers that collided go on one after the other: up to 1 ms after the first collision, up to 64 ms after
// many, at random.
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

// LoadOwned loads a session on behalf of a principal. A session of somebody else is [ErrNotFound], as if it did not
// exist; so is one without an owner. Principals are compared in constant time.
func LoadOwned(ctx context.Context, st Storage, id, principal string) (*Session, error) {
	s, err := st.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.principal == "" || subtle.ConstantTimeCompare([]byte(s.principal), []byte(principal)) != 1 {
		return nil, fail("load owned", ErrNotFound)
	}
	return s, nil
}

// Renew gives a session a new id and destroys the old one, and returns it under its new id. Call it when a user logs in
// or gains rights, so that an id that somebody else knew or planted becomes worthless. s must come from the storage; it
// may have been changed, and is then stored with the change.
//
// The error is ErrNotFound or ErrConflict if s is not what is stored any more; nothing has happened then. The old id is
// dead before the new one lives: a failure in between costs the session, and its user has to log in again.
//
// With a storage that is no [Taker], a session that somebody deletes during the call may live on under its new id.
func Renew(ctx context.Context, st Storage, s *Session) (*Session, error) {
	if s == nil {
		return nil, fail("renew", ErrInvalidID)
	}
	if s.Revision() == 0 {
		return nil, fail("renew", ErrNotFound)
	}
	current := s.clone()
	if err := st.Store(ctx, current); err != nil { // is it still what is stored?
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

// take removes a session and returns what was stored at that moment: somebody may have changed it since it was loaded.
func take(ctx context.Context, st Storage, s *Session) (*Session, error) {
	if taker, ok := st.(Taker); ok {
		taken, err := taker.Take(ctx, s.id)
		if !errors.Is(err, errors.ErrUnsupported) {
			return taken, err
		}
	}
	return s, st.Delete(ctx, s.id)
}

// Sweep calls DeleteExpired for sessions that were idle for at least the given time: once at the start and then every
// so often, until the context ends, whose error it returns. A failed call is repeated at the next turn. It panics when
// one of the durations is not positive. Only storages that do not expire sessions by themselves need it; MemoryStorage
// and RedisStorage do.
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
