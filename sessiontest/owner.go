package sessiontest

import (
	"slices"
	"time"

	"github.com/seed34611480/session"
)

var ownerCases = []testCase{
	{"Sessions", sessionsOf},
	{"SessionsIsNoUse", sessionsIsNoUse},
	{"OwnerChanges", ownerChanges},
	{"OwnerLimit", ownerLimit},
}

// principal returns a principal of no other session. It is a secret, too.
func (e *env) principal() string {
	return session.Principal("https://issuer.example", e.secret(session.NewID()))
}

// ownedBy returns sessions of a principal that were just stored.
func (e *env) ownedBy(principal string, n int) []*session.Session {
	e.Helper()
	var all []*session.Session
	for range n {
		s := e.fresh().WithPrincipal(principal)
		e.store(s)
		all = append(all, s)
	}
	return all
}

// lists checks that Sessions returns exactly these sessions, if the storage is a Lister.
func (e *env) lists(principal, why string, want ...*session.Session) {
	e.Helper()
	l, ok := e.lister()
	if !ok {
		return
	}
	rest := map[string]*session.Session{}
	for _, s := range want {
		rest[s.ID()] = s
	}
	for got, err := range l.Sessions(e.ctx, principal) {
		if err != nil {
			e.Fatalf("Sessions %s: %v", why, err)
		}
		if rest[got.ID()] == nil {
			e.Errorf("Sessions %s returned a session that it should not, or twice", why)
			continue
		}
		e.same("session listed "+why, got, rest[got.ID()])
		delete(rest, got.ID())
	}
	if len(rest) > 0 {
		e.Errorf("Sessions %s did not return %d of %d sessions", why, len(rest), len(want))
	}
}

// sessionsOf: Sessions returns all live sessions of a principal as they are stored, and may be ended early and
// repeated.
func sessionsOf(e *env) {
	l := need(e, e.lister)
	mine, theirs := e.principal(), e.principal()
	e.lists(mine, "before there is one")
	sessions, others := e.ownedBy(mine, 12), e.ownedBy(theirs, 1)
	e.lists(mine, "of many sessions", sessions...)
	e.lists(theirs, "of another principal", others...)
	e.lists("", "of no principal")
	sessions[0] = sessions[0].With("k", "v")
	e.store(sessions[0])
	e.delete(sessions[1].ID())
	sessions = slices.Delete(sessions, 1, 2)
	e.lists(mine, "after a change and a Delete", sessions...)

	all := l.Sessions(e.ctx, mine)
	for range 2 {
		n := 0
		for _, err := range all {
			if n++; n == 3 || err != nil {
				break
			}
		}
		if n != 3 {
			e.Errorf("an iteration that is ended after 3 sessions saw %d", n)
		}
	}
	for s, err := range all { // the storage may be used meanwhile
		if err != nil {
			e.Fatalf("Sessions: %v", err)
		}
		e.store(s.With("seen", "yes"))
		e.load(s.ID())
		e.delete(s.ID())
	}
	e.lists(mine, "after each was deleted")
	ending := e.fresh().WithPrincipal(mine).WithExpiresAt(time.Now().Add(soon))
	e.store(ending)
	e.lists(mine, "before ExpiresAt", ending)
	e.outlive(ending)
	e.lists(mine, "after ExpiresAt")
}

// sessionsIsNoUse: Sessions keeps no session alive, and finds none that has been idle for too long.
func sessionsIsNoUse(e *env) {
	need(e, e.lister)
	mine := e.principal()
	s := e.ownedBy(mine, 1)[0]
	const steps = 4
	for range steps {
		e.Advance(e.busyStep() / steps)
		e.lists(mine, "before its TTL is over", s)
	}
	e.Advance(e.busyStep() / 2)
	e.lists(mine, "after its TTL")
	e.gone(s.ID(), "of a session that was only listed for longer than the TTL")
	again := e.ownedBy(mine, 1)[0]
	e.lists(mine, "after another one has expired", again)
	for lived := time.Duration(0); lived < time.Duration(e.longRun)*e.TTL; lived += e.busyStep() {
		e.Advance(e.busyStep())
		e.load(again.ID())
	}
	e.settle()
	e.lists(mine, "of a session that is kept alive", again)
}

// ownerChanges: a session belongs to the principal that it was stored with last.
func ownerChanges(e *env) {
	r := need(e, e.revoker)
	first, second := e.principal(), e.principal()
	s := e.ownedBy(first, 1)[0]
	kept := e.ownedBy(first, 1)[0]
	s = s.WithPrincipal(second)
	e.store(s)
	e.lists(first, "after another session got another owner", kept)
	e.lists(second, "after a session got this owner", s)
	e.revokes(r, first, "of the former owner", 1)
	e.untouched("Revoke of its former owner", s)

	s = s.WithPrincipal("")
	e.store(s)
	e.lists(second, "after its session lost its owner")
	e.revokes(r, second, "of the former owner", 0)
	e.untouched("Revoke of its former owner", s)

	taken := session.New(s.ID()).WithPrincipal(first)
	e.store(taken)
	e.lists(first, "after an unconditional Store", taken)
	e.revokes(r, first, "of the owner of an unconditional Store", 1)
	e.gone(s.ID(), "after Revoke of its last owner")
}
