package sessiontest

import "github.com/seed34611480/session"

var revisionCases = []testCase{
	{"RevisionSet", revisionSet},
	{"RevisionGrows", revisionGrows},
	{"Unconditional", unconditional},
	{"Conflict", conflict},
	{"LateWriterAfterDelete", lateWriterAfterDelete},
	{"LateWriterAfterRecreate", lateWriterAfterRecreate},
}

// revisionSet: a successful Store sets the revision of the caller's session to the one that Load returns, so that the
// caller can store it again.
func revisionSet(e *env) {
	s := e.stored()
	if s.Revision() == 0 {
		e.Errorf("Store did not set the revision")
	}
	e.same("loaded session", e.load(s.ID()), s)

	next := s.With("step", "2")
	e.store(next)
	e.store(next) // the same session once more: its revision is the stored one
	last := next.With("step", "3")
	e.store(last)
	e.untouched("a chain of stores without a load", last)
}

// revisionGrows: a revision is never used twice for an id, not even after Delete. A cache relies on that to tell older
// from newer.
func revisionGrows(e *env) {
	s := e.stored()
	last := s.Revision()
	grown := func(what string, s *session.Session) {
		e.Helper()
		if s.Revision() <= last {
			e.Errorf("revision after %s is %d, want more than %d", what, s.Revision(), last)
		}
		last = s.Revision()
	}
	for range 3 {
		s = s.With("k", "v")
		e.store(s)
		grown("a compare-and-set Store", s)
	}
	s = session.New(s.ID())
	e.store(s)
	grown("an unconditional Store", s)
	for range 3 {
		e.delete(s.ID())
		s = session.New(s.ID())
		e.store(s)
		grown("Delete and Store", s)
	}
}

// unconditional: a session with revision 0 replaces whatever is stored.
func unconditional(e *env) {
	old := e.stored()
	loaded := e.load(old.ID())
	s := session.New(old.ID()).With("k", "new")
	e.store(s)
	e.untouched("an unconditional Store", s)
	e.fails("Store of what was loaded before an unconditional Store",
		e.Storage.Store(e.ctx, loaded.With("k", "late")), session.ErrConflict)

	detached := loaded.Detached()
	e.store(detached)
	e.untouched("Store of a detached copy", detached)
}

// conflict: of two changes to the same state only the first is stored, even if both have the same content.
func conflict(e *env) {
	s := e.stored()
	a, b := e.load(s.ID()).With("k", "v"), e.load(s.ID()).With("k", "v")
	e.store(a)
	before := b.Revision()
	e.fails("Store of a copy that was loaded before another was stored", e.Storage.Store(e.ctx, b), session.ErrConflict)
	if b.Revision() != before {
		e.Errorf("a failed Store changed the caller's revision from %d to %d", before, b.Revision())
	}
	e.fails("the same Store once more", e.Storage.Store(e.ctx, b), session.ErrConflict)
	e.untouched("a conflict", a)

	// The next step of a compare-and-set loop.
	again := e.load(s.ID()).With("k", "again")
	e.store(again)
	e.untouched("storing again after a conflict", again)
}

// lateWriterAfterDelete: a deleted session does not come back when a copy of it is stored.
func lateWriterAfterDelete(e *env) {
	s := e.stored()
	loaded := e.load(s.ID())
	e.delete(s.ID())
	for _, late := range []*session.Session{s, s.With("k", "v"), loaded, loaded.With("k", "v")} {
		e.fails("Store of a copy of a deleted session", e.Storage.Store(e.ctx, late), session.ErrNotFound)
		e.gone(s.ID(), "after a late Store of a deleted session")
	}
}

// lateWriterAfterRecreate: a copy of the deleted session does not overwrite its successor.
func lateWriterAfterRecreate(e *env) {
	s := e.stored()
	late := e.load(s.ID()).With("k", "late")
	e.delete(s.ID())
	successor := session.New(s.ID()).WithPrincipal("https://issuer.example|user-2")
	e.store(successor)
	e.fails("Store of a copy of a deleted session whose id is used again",
		e.Storage.Store(e.ctx, late), session.ErrConflict)
	e.untouched("a late Store", successor)
}
