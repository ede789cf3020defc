package session

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/seed34611480/session/internal/errs"
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
		base := current.Revision() // before others can stamp it: a cache may return one session to many callers
		changed, err := change(current)
		if err != nil {
			return nil, err
		}
		if changed == nil || changed == current {
			return current, nil
		}
		if changed.id != id {
			return nil, opErrBecause("update", ErrInvalidID, errs.Reason("change has returned a session with another id"))
		}
		// Whatever change returned, it was based on current, and must not replace any other state.
		changed = changed.snapshot(base).limited(maxLifetimeOf(st))
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
	if owner := s.Principal(); owner == "" || subtle.ConstantTimeCompare([]byte(owner), []byte(principal)) != 1 {
		return nil, opErr("load owned", ErrNotFound)
	}
	return s, nil
}

// Create stores a session that must be new, if st is a [Creator]: [ErrExists] when there is one with its id. If st is
// none, the error matches [errors.ErrUnsupported] and names the type of st, and nothing has happened. All other errors
// are those of [Creator].Create.
func Create(ctx context.Context, st Storage, s *Session) error {
	creator, ok := st.(Creator)
	if !ok {
		return lacks("create", st, "Creator", errors.ErrUnsupported)
	}
	return lacks("create", st, "Creator", creator.Create(ctx, s))
}

// Take loads and deletes a session in one step, if st is a [Taker]: of any number of concurrent calls at most one gets
// it. If st is none, the error matches [errors.ErrUnsupported] and names the type of st, and nothing has happened. All
// other errors are those of [Taker].Take. What is no session of that id is ErrCorrupt.
func Take(ctx context.Context, st Storage, id string) (*Session, error) {
	taker, ok := st.(Taker)
	if !ok {
		return nil, lacks("take", st, "Taker", errors.ErrUnsupported)
	}
	taken, err := taker.Take(ctx, id)
	if err == nil {
		err = checkTaken("take", id, taken)
	}
	if err != nil {
		return nil, lacks("take", st, "Taker", err)
	}
	return taken, nil
}

// lacks says which capability a storage lacks, if that is what the error says without a reason. Other errors are passed
// on.
func lacks(op string, st Storage, capability string, err error) error {
	if _, ok := err.(*opError); ok || !errs.Unsupported(err) { //nolint:errorlint // what wraps one adds foreign text
		return err
	}
	return opErrBecause(op, errors.ErrUnsupported, errs.Reason("the storage, a %T, is not a %s", st, capability))
}

// Renew gives a session a new id, destroys the old one, and returns the session under its new id. Call it when a user
// logs in or gains rights: an old id that an attacker knew or planted is worthless from then on. s must come from the
// storage. It may have been changed since; the change is stored too, under the new id only. Contents and creation time
// are kept, and so are ExpiresAt and IdleTimeout: change them in s if the session is to live longer from now on.
//
// What s has gained is never stored under the old id. Renew (1) replaces the stored session by a blank one, without
// owner, contents or type, if s is still based on what is stored; (2) destroys that; (3) stores s under the new id. The
// blank one expires after a minute at most, in case that (2) fails. So a crash between two steps loses the session, but
// leaves nothing that the old id gives access to. A replica that has a local copy of the old session may serve that, as
// it was, for MaxStaleness.
//
// The error is ErrNotFound or ErrConflict if s is no longer what is stored; nothing has happened then, unless another
// writer deleted or changed the blank session between (1) and (2). Nor has anything happened after ErrLifetime. After
// any other error, and ErrTooLarge, ErrEncode or ErrTooMany for what s has gained are among these, the session may be
// lost, and its user has to log in again.
//
// If the storage is not a [Taker], a delete or a change of the blank session goes unnoticed: what is deleted during the
// call may live on under its new id. A change of the session itself is never lost unnoticed: it is an ErrConflict, here
// or for the other writer.
func Renew(ctx context.Context, st Storage, s *Session) (*Session, error) {
	if err := refused(st, s); err != nil {
		return nil, err
	}
	return renew(ctx, st, s, NewID(), func(renewed *Session) error { return storeNew(ctx, st, renewed) })
}

// RenewTo is [Renew] with an id of the caller's choice, and into another storage, of signed-in sessions say, which may
// be the same. The new id must be another one than that of s, which is ErrInvalidID, also in another storage: who knows
// the old id must not know the new one.
//
// It first reserves the new id: it creates a blank session there, without owner, contents or type, which expires after
// a minute at most. If the id is taken, the error is ErrExists, and nothing has happened to s. It then goes on like
// Renew, and stores s in the place of the blank session in the end. After an error, the id may stay reserved for a
// minute.
//
// If to is not a [Creator], RenewTo only looks whether the id is taken. A session that others store under it during the
// call is replaced.
//
// ErrNotFound and ErrConflict may also mean that others have deleted the blank session under the new id, or have stored
// one there. The old session is destroyed then.
//
// An ExpiresAt that from has given to s ([WithMaxLifetime]) is kept, too. Remove it from s to have that of the new
// storage, which also counts from when s was created: it is ErrLifetime if that is over, and nothing has happened.
func RenewTo(ctx context.Context, from Storage, s *Session, to Storage, id string) (*Session, error) {
	switch err := ValidateID(id); {
	case err != nil:
		return nil, opErr("renew", err)
	case id == s.ID():
		return nil, opErrBecause("renew", ErrInvalidID, errs.Reason("the new id is the old one"))
	case s.Revision() == 0: // before anything is reserved
		return nil, neverStored(s)
	}
	if err := refused(to, s); err != nil {
		return nil, err
	}
	reserved, err := reserve(ctx, to, id)
	if err != nil {
		return nil, err
	}
	filled := false
	renewed, err := renew(ctx, from, s, id, func(renewed *Session) error {
		filled = true
		Stamp(renewed, reserved.Revision())
		return to.Store(ctx, renewed)
	})
	if err != nil && !filled && reserved.Revision() != 0 {
		_ = destroy(ctx, to, reserved) // or it expires by itself
	}
	return renewed, err
}

// refused returns the error of a session whose lifetime a storage will refuse when it is stored there as a new one, so
// that it is not lost for that. renew finds one that has never been stored, or is over.
func refused(to Storage, s *Session) error {
	if s.Revision() == 0 || s.Expired(time.Now()) {
		return nil
	}
	return checkLifetime("renew", s.limited(maxLifetimeOf(to)), true)
}

func maxLifetimeOf(st Storage) time.Duration {
	if limiter, ok := st.(Limiter); ok {
		return limiter.MaxLifetime()
	}
	return 0
}

// renew does steps 1 and 2 of [Renew], and 3 with the given function.
func renew(
	ctx context.Context, from Storage, s *Session, id string, store func(renewed *Session) error,
) (*Session, error) {
	base := s.Revision()
	if base == 0 {
		return nil, neverStored(s)
	}
	renewed := s.Detached()
	renewed.id = strings.Clone(id)
	blank := blankFor(s.id)
	if !s.expiresAt.IsZero() && s.expiresAt.Before(blank.expiresAt) {
		blank.expiresAt = s.expiresAt
	}
	Stamp(blank, base)
	if err := from.Store(ctx, blank); err != nil { // is s still what is stored?
		return nil, err
	}
	if err := destroy(ctx, from, blank); err != nil {
		return nil, err
	}
	if err := store(renewed); err != nil {
		return nil, err
	}
	return renewed, nil
}

func neverStored(s *Session) error {
	if s == nil {
		return opErrBecause("renew", ErrInvalidID, errNilSession)
	}
	return opErrBecause("renew", ErrNotFound, errs.Reason("the session was never stored"))
}

// reserve stores a blank session under an id that must be free. If the storage is not a Creator, it only looks, and
// returns a session without a revision.
func reserve(ctx context.Context, st Storage, id string) (*Session, error) {
	blank := blankFor(id)
	if err := Create(ctx, st, blank); err == nil {
		return blank, nil
	} else if !errs.Unsupported(err) {
		return nil, err
	}
	switch _, err := st.Load(ctx, id); {
	case err == nil:
		return nil, opErr("renew", ErrExists)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	return New(id), nil
}

// blankLifetime is how long a blank session of [Renew] lives if it is neither destroyed nor replaced.
const blankLifetime = time.Minute

// blankFor returns a session that has nothing that is worth having.
func blankFor(id string) *Session {
	blank := New(id)
	return blank.WithExpiresAt(blank.createdAt.Add(blankLifetime))
}

// destroy removes a session that was just stored. If the storage is a Taker, the error is ErrConflict when it was
// changed meanwhile, and ErrNotFound when it was deleted.
func destroy(ctx context.Context, st Storage, s *Session) error {
	taken, err := Take(ctx, st, s.id)
	switch {
	case errs.Unsupported(err):
		return st.Delete(ctx, s.id)
	case err != nil:
		return err
	case taken.Revision() != s.Revision():
		return opErr("renew", ErrConflict)
	}
	return nil
}

// storeNew stores a session whose id is fresh.
func storeNew(ctx context.Context, st Storage, s *Session) error {
	if err := Create(ctx, st, s); !errs.Unsupported(err) {
		return err
	}
	return st.Store(ctx, s)
}

// Sweep calls DeleteExpired for sessions that were idle for at least the given time. It does so once at the start and
// then at the given interval, until the context ends, and returns the context's error. After a failed call it tries
// again at the next interval; slog.Default() gets a line when calls begin to fail, and one when they work again. It
// panics if one of the durations is not positive. Only storages that do not expire sessions by themselves need it;
// MemoryStorage and RedisStorage do.
func Sweep(ctx context.Context, st Storage, every, idle time.Duration) error {
	if every <= 0 || idle <= 0 {
		panic("session: Sweep: durations must be positive")
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for works := true; ; {
		err := inOurTerms("sweep", st.DeleteExpired(ctx, time.Now().Add(-idle)))
		switch {
		case ctx.Err() != nil: // which may be why it has failed
		case err != nil && works:
			slog.WarnContext(ctx, "session: sweeps fail, sessions that are over stay in the storage", "error", err)
		case err == nil && !works:
			slog.InfoContext(ctx, "session: sweeps work again")
		}
		works = err == nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
