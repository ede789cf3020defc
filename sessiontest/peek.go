package sessiontest

import "github.com/seed34611480/session"

var peekerCases = []testCase{
	{"Peek", peek},
	{"PeekIsNoUse", peekIsNoUse},
	{"PeekExpired", peekExpired},
}

// peeks checks that Peek returns a session as it was stored.
func (e *env) peeks(p session.Peeker, why string, want *session.Session) {
	e.Helper()
	got, err := p.Peek(e.ctx, want.ID())
	if err != nil || got == nil {
		e.Fatalf("Peek %s: got a session: %t, error: %v", why, got != nil, err)
	}
	e.same("session peeked at "+why, got, want)
}

func (e *env) peeksNothing(p session.Peeker, why, id string) {
	e.Helper()
	got, err := p.Peek(e.ctx, id)
	e.fails("Peek "+why, err, session.ErrNotFound)
	if got != nil {
		e.Errorf("Peek %s returned a session", why)
	}
}

// peek: Peek returns what Load returns, with the revision that is stored.
func peek(e *env) {
	p := need(e, e.peeker)
	s, other := e.stored(), e.stored()
	e.peeks(p, "after Store", s)
	next := s.With("k", "v")
	e.store(next)
	e.peeks(p, "after Store of a change", next)
	got, err := p.Peek(e.ctx, s.ID())
	if err != nil {
		e.Fatalf("Peek: %v", err)
	}
	last := got.With("k", "from a peek")
	e.store(last)
	e.untouched("storing a change of what Peek returned", last)
	got, err = p.Peek(e.ctx, s.ID())
	if err != nil {
		e.Fatalf("Peek: %v", err)
	}
	session.Stamp(got, got.Revision()+1) // as another storage does that it is stored in
	e.peeks(p, "after what it returned was stored in another storage", last)
	e.delete(s.ID())
	e.peeksNothing(p, "of a deleted session", s.ID())
	e.peeksNothing(p, "of an id that was never stored", e.secret(session.NewID()))
	e.peeks(p, "after Delete of another session", other)
}

// peekIsNoUse: a session lives for the TTL from its last Load or Store, however often it is peeked at.
func peekIsNoUse(e *env) {
	p := need(e, e.peeker)
	s, used := e.stored(), e.stored()
	const steps = 4
	for range steps {
		e.Advance(e.busyStep() / steps)
		e.peeks(p, "before its TTL is over", s)
		e.peeks(p, "before its TTL is over", used)
	}
	e.load(used.ID())
	e.settle()
	e.Advance(e.busyStep() / 2)
	e.peeksNothing(p, "of a session that was only peeked at for longer than the TTL", s.ID())
	e.peeks(p, "of a session that was loaded since", used)
	e.gone(s.ID(), "of a session that was only peeked at for longer than the TTL")
	e.untouched("peeking at it many times", used)
}

// peekExpired: Peek does not find a session past its ExpiresAt.
func peekExpired(e *env) {
	p := need(e, e.peeker)
	s := e.ending()
	e.peeks(p, "before ExpiresAt", s)
	e.outlive(s)
	e.peeksNothing(p, "after ExpiresAt", s.ID())
}
