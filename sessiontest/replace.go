package sessiontest

import (
	"time"

	"github.com/seed34611480/session"
)

var replacerCases = []testCase{
	{"Replace", replace},
	{"ReplaceAfterExpiry", replaceAfterExpiry},
	{"ReplacePastExpiresAt", replacePastExpiresAt},
}

// replace: Replace stores a session only if there is one with its id, whatever revision either has.
func replace(e *env) {
	r := need(e, e.replacer)
	none := e.fresh()
	e.fails("Replace of nothing", r.Replace(e.ctx, none), session.ErrNotFound)
	if none.Revision() != 0 {
		e.Errorf("a failed Replace set the caller's revision to %d", none.Revision())
	}
	e.gone(none.ID(), "after a refused Replace")

	first := e.stored()
	last := first
	for _, next := range []*session.Session{
		session.New(first.ID()).With("k", "new"), // has no revision
		first.With("k", "old"),                   // has one that is not stored any more
		first.With("k", "older"),
	} {
		if err := r.Replace(e.ctx, next); err != nil {
			e.Fatalf("Replace: %v", err)
		}
		if next.Revision() <= last.Revision() {
			e.Errorf("revision after Replace is %d, want more than %d", next.Revision(), last.Revision())
		}
		e.untouched("Replace", next)
		last = next
	}
	e.fails("Store of a copy from before Replace", e.Storage.Store(e.ctx, first.With("k", "v")), session.ErrConflict)
	after := last.With("k", "v")
	e.store(after)
	e.untouched("storing a replaced session", after)

	e.delete(first.ID())
	e.fails("Replace after Delete", r.Replace(e.ctx, after.With("k", "again")), session.ErrNotFound)
	e.gone(first.ID(), "after Delete and Replace")
}

// replaceAfterExpiry: Replace brings no expired session back.
func replaceAfterExpiry(e *env) {
	r := need(e, e.replacer)
	idle, ending := e.stored(), e.ending()
	e.outlive(ending)
	e.fails("Replace of a session past its ExpiresAt", r.Replace(e.ctx, session.New(ending.ID())), session.ErrNotFound)
	e.gone(ending.ID(), "after a refused Replace")
	e.expire()
	e.fails("Replace of a session that was idle for longer than the TTL", r.Replace(e.ctx, session.New(idle.ID())),
		session.ErrNotFound)
	e.gone(idle.ID(), "after a refused Replace")
}

// replacePastExpiresAt: Replace refuses what Store refuses of a new session, and what is stored stays.
func replacePastExpiresAt(e *env) {
	r := need(e, e.replacer)
	s := e.stored()
	over := s.WithExpiresAt(time.Now().Add(-time.Second))
	e.fails("Replace by a session past its ExpiresAt", r.Replace(e.ctx, over), session.ErrLifetime)
	e.untouched("a refused Replace", s)
}
