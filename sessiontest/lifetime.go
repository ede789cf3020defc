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
	// soon is the absolute lifetime of the sessions that a case waits for.
	soon = 500 * time.Millisecond
	// tolerance is by how much storages may be off that go by another clock, or round. It is not for serving a session:
	// whoever does that can look at its ExpiresAt.
	tolerance = 20 * time.Millisecond
)

// ending returns a stored session that ends soon.
func (e *env) ending() *session.Session {
	e.Helper()
	s := e.fresh().WithExpiresAt(time.Now().Add(soon))
	e.store(s)
	return s
}

// outlive waits until a session is past its ExpiresAt by any clock. Those that do not follow time.Now are moved along.
func (e *env) outlive(s *session.Session) {
	time.Sleep(time.Until(s.ExpiresAt().Add(tolerance)))
	if !e.wallClock {
		e.Advance(soon)
	}
}

// use loads a session again and again until the given instant, and checks each answer against its ExpiresAt. Only what
// is certain counts: a load that ended before that instant finds it, one that started at or after it does not.
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

// expiresAtUnloaded: the same for one that nobody loads before.
func expiresAtUnloaded(e *env) {
	s := e.ending()
	time.Sleep(time.Until(s.ExpiresAt()))
	e.gone(s.ID(), "at ExpiresAt")
	e.outlive(s)
	e.gone(s.ID(), "after ExpiresAt")
}

// expiresAtNotExtended: once past its ExpiresAt a session is gone, and cannot be given a later one.
func expiresAtNotExtended(e *env) {
	s := e.ending()
	loaded := e.load(s.ID()) // a storage that slides by its own clock now holds it for a whole TTL
	e.outlive(s)
	for _, late := range []*session.Session{
		loaded,
		loaded.WithExpiresAt(time.Now().Add(time.Hour)),
		loaded.WithExpiresAt(time.Time{}),
	} {
		e.fails("Store of a copy of a session past its ExpiresAt", e.Storage.Store(e.ctx, late), session.ErrNotFound)
		e.gone(s.ID(), "after such a Store")
	}
}

// expiresAtMoved: while it lasts, a session's end may be removed, set and moved.
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

// storePastExpiresAt: a session that is over is not stored, and leaves alone what is there.
func storePastExpiresAt(e *env) {
	past := time.Now().Add(-time.Second)
	over := e.fresh().WithExpiresAt(past)
	e.fails("Store of a new session past its ExpiresAt", e.Storage.Store(e.ctx, over), session.ErrNotFound)
	if over.Revision() != 0 {
		e.Errorf("a failed Store set the revision to %d", over.Revision())
	}
	e.gone(over.ID(), "of a session that was past its ExpiresAt when it was to be stored")

	s := e.stored()
	for _, over := range []*session.Session{
		s.WithExpiresAt(past),
		session.New(s.ID()).WithExpiresAt(past), // revision 0
	} {
		e.fails("Store of a session past its ExpiresAt over another", e.Storage.Store(e.ctx, over), session.ErrNotFound)
		e.untouched("a refused Store", s)
	}
}
