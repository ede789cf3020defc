package sessiontest

import (
	"time"

	"github.com/seed34611480/session"
)

var lifetimeCases = []testCase{
	{"ExpiresAt", expiresAt},
	{"ExpiresAtUnloaded", expiresAtUnloaded},
	{"ExpiresAtNotExtended", expiresAtNotExtended},
	{"ExpiresAtMoved", expiresAtMoved},
	{"StorePastExpiresAt", storePastExpiresAt},
}

const (
	// soon is the absolute lifetime of sessions whose end a case waits for.
	soon = 500 * time.Millisecond
	// tolerance is how far a storage may be off because it rounds or uses another clock. It does not excuse serving a
	// session after its ExpiresAt: a storage can compare that before it answers.
	tolerance = 20 * time.Millisecond
)

// ending returns a stored session that ends soon.
func (e *env) ending() *session.Session {
	e.Helper()
	s := e.fresh().WithExpiresAt(time.Now().Add(soon))
	e.store(s)
	return s
}

// outlive waits until a session is past its ExpiresAt by every clock. It advances a clock that does not follow
// time.Now.
func (e *env) outlive(s *session.Session) {
	time.Sleep(time.Until(s.ExpiresAt().Add(tolerance)))
	if !e.wallClock {
		e.Advance(soon)
	}
}

// use loads a session repeatedly until the given instant, and checks each answer against its ExpiresAt. Only certain
// cases count: a load that ended before ExpiresAt must find the session, one that started at or after it must not.
func (e *env) use(s *session.Session, until time.Time) {
	e.Helper()
	limit := s.ExpiresAt()
	for {
		start := time.Now()
		got, err := e.Storage.Load(e.ctx, s.ID())
		end := time.Now()
		switch {
		case !limit.IsZero() && !start.Before(limit):
			e.fails("Load at or after ExpiresAt", err, session.ErrNotFound)
			if got != nil {
				e.Fatalf("a session was served %v after its ExpiresAt", start.Sub(limit))
			}
		case err == nil:
			e.same("session before its ExpiresAt", got, s)
		case limit.IsZero():
			e.Fatalf("Load of a session without ExpiresAt, in constant use: %v", err)
		case end.Before(limit.Add(-tolerance)):
			e.Fatalf("Load %v before ExpiresAt: %v", limit.Sub(end), err)
		}
		if !start.Before(until) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// expiresAt: a session ends at its ExpiresAt, however busy it is.
func expiresAt(e *env) {
	s := e.ending()
	e.use(s, s.ExpiresAt().Add(10*tolerance))
	again := session.New(s.ID())
	e.store(again)
	e.untouched("storing under the id of a session past its ExpiresAt", again)
}

// expiresAtUnloaded: the same for a session that is never loaded before its end.
func expiresAtUnloaded(e *env) {
	s := e.ending()
	time.Sleep(time.Until(s.ExpiresAt()))
	e.gone(s.ID(), "at ExpiresAt")
	e.outlive(s)
	e.gone(s.ID(), "after ExpiresAt")
}

// expiresAtNotExtended: once past its ExpiresAt, a session is gone and cannot be given a later one.
func expiresAtNotExtended(e *env) {
	s := e.ending()
	loaded := e.load(s.ID()) // if the storage slides by its own clock, this load keeps it for another TTL
	e.outlive(s)
	for _, late := range []*session.Session{
		loaded,
		loaded.WithExpiresAt(time.Now().Add(time.Hour)),
		loaded.WithExpiresAt(time.Time{}),
	} {
		e.fails("Store of a copy of a session past its ExpiresAt", e.Storage.Store(e.ctx, late), session.ErrNotFound)
		e.gone(s.ID(), "after a Store past ExpiresAt")
	}
}

// expiresAtMoved: before it is reached, ExpiresAt may be removed, set and moved.
func expiresAtMoved(e *env) {
	s := e.ending()
	end := s.ExpiresAt()
	s = s.WithExpiresAt(time.Time{})
	e.store(s)
	e.use(s, end.Add(tolerance))

	s = s.WithExpiresAt(time.Now().Add(time.Hour))
	e.store(s)
	s = s.WithExpiresAt(time.Now().Add(soon))
	e.store(s)
	e.use(s, s.ExpiresAt().Add(tolerance))
}

// storePastExpiresAt: a session past its ExpiresAt is not stored, and the stored one stays as it is. A new one is
// refused; one that was stored before is gone.
func storePastExpiresAt(e *env) {
	past := time.Now().Add(-time.Second)
	over := e.fresh().WithExpiresAt(past)
	e.fails("Store of a new session past its ExpiresAt", e.Storage.Store(e.ctx, over), session.ErrLifetime)
	if over.Revision() != 0 {
		e.Errorf("a failed Store set the revision to %d", over.Revision())
	}
	e.gone(over.ID(), "of a session that was past its ExpiresAt when Store was called")

	s := e.stored()
	e.fails("Store of a change past its ExpiresAt", e.Storage.Store(e.ctx, s.WithExpiresAt(past)), session.ErrNotFound)
	e.untouched("a refused Store", s)
	over = session.New(s.ID()).WithExpiresAt(past) // revision 0
	e.fails("Store of a session past its ExpiresAt over another", e.Storage.Store(e.ctx, over), session.ErrLifetime)
	e.untouched("a refused Store", s)
}
