package sessiontest

import (
	"time"

	"github.com/seed34611480/session"
)

var creatorCases = []testCase{
	{"Create", create},
	{"CreateAfterExpiry", createAfterExpiry},
	{"CreatePastExpiresAt", createPastExpiresAt},
}

// create: Create stores a session only if its id is new, whatever revision the session carries.
func create(e *env) {
	c := need(e, e.creator)
	s := e.fresh()
	if err := c.Create(e.ctx, s); err != nil {
		e.Fatalf("Create: %v", err)
	}
	if s.Revision() == 0 {
		e.Errorf("Create did not set the revision")
	}
	e.untouched("Create", s)

	for _, second := range []*session.Session{session.New(s.ID()), e.load(s.ID()).With("k", "v")} {
		before := second.Revision()
		e.fails("Create of a session that exists", c.Create(e.ctx, second), session.ErrExists)
		if second.Revision() != before {
			e.Errorf("a failed Create changed the caller's revision from %d to %d", before, second.Revision())
		}
		e.untouched("a refused Create", s)
	}
	next := s.With("k", "v")
	e.store(next)
	e.untouched("storing a created session", next)

	e.delete(s.ID())
	old := next.With("k", "again") // has the revision of the deleted session
	if err := c.Create(e.ctx, old); err != nil {
		e.Fatalf("Create after Delete, of a session with a revision: %v", err)
	}
	if old.Revision() <= next.Revision() {
		e.Errorf("revision after Delete and Create is %d, want more than %d", old.Revision(), next.Revision())
	}
	e.untouched("Create", old)
	e.fails("Store of a copy from before Delete and Create", e.Storage.Store(e.ctx, next), session.ErrConflict)
}

// createAfterExpiry: Create may reuse the id of an expired session.
func createAfterExpiry(e *env) {
	c := need(e, e.creator)
	idle, ending := e.stored(), e.ending()
	e.load(ending.ID())
	e.outlive(ending)
	again := session.New(ending.ID())
	if err := c.Create(e.ctx, again); err != nil {
		e.Fatalf("Create under the id of a session past its ExpiresAt: %v", err)
	}
	e.untouched("Create", again)

	e.expire()
	again = session.New(idle.ID())
	if err := c.Create(e.ctx, again); err != nil {
		e.Fatalf("Create under the id of a session that was idle for longer than the TTL: %v", err)
	}
	e.untouched("Create", again)
}

// createPastExpiresAt: Create refuses what Store refuses, whatever its revision.
func createPastExpiresAt(e *env) {
	c := need(e, e.creator)
	past := time.Now().Add(-time.Second)
	over := e.fresh().WithExpiresAt(past)
	e.fails("Create of a session past its ExpiresAt", c.Create(e.ctx, over), session.ErrLifetime)
	e.gone(over.ID(), "after a refused Create")
	s := e.stored()
	e.delete(s.ID())
	e.fails("Create of a deleted session past its ExpiresAt", c.Create(e.ctx, s.WithExpiresAt(past)), session.ErrLifetime)
	e.gone(s.ID(), "after a refused Create")
}
