package sessiontest

import "github.com/seed34611480/session"

var takerCases = []testCase{
	{"Take", take},
	{"TakeExpired", takeExpired},
}

// take: Take loads and deletes in one step.
func take(e *env) {
	t := need(e, e.taker)
	s, other := e.stored(), e.stored()
	got, err := t.Take(e.ctx, s.ID())
	if err != nil || got == nil {
		e.Fatalf("Take: got a session: %t, error: %v", got != nil, err)
	}
	e.same("taken session", got, s)
	e.notTaken(t, s.ID(), "of a taken session")
	e.gone(s.ID(), "after Take")
	e.fails("Store of a taken session", e.Storage.Store(e.ctx, got.With("k", "v")), session.ErrNotFound)
	e.notTaken(t, e.secret(session.NewID()), "of an id that was never stored")
	e.untouched("Take of another session", other)
	e.delete(other.ID())
	e.notTaken(t, other.ID(), "of a deleted session")
}

// takeExpired: Take does not find an expired session.
func takeExpired(e *env) {
	t := need(e, e.taker)
	idle, ending := e.stored(), e.ending()
	e.load(ending.ID())
	e.outlive(ending)
	e.notTaken(t, ending.ID(), "of a session past its ExpiresAt")
	e.expire()
	e.notTaken(t, idle.ID(), "of a session that was idle for longer than the TTL")
}

func (e *env) notTaken(t session.Taker, id, why string) {
	e.Helper()
	s, err := t.Take(e.ctx, id)
	e.fails("Take "+why, err, session.ErrNotFound)
	if s != nil {
		e.Errorf("Take %s returned a session", why)
	}
}
