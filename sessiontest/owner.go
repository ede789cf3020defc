package sessiontest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

var ownerCases = []testCase{
	{"Revoke", revoke},
	{"RevokeNasty", revokeNasty},
	{"Sessions", sessionsOf},
	{"SessionsIsNoUse", sessionsIsNoUse},
	{"OwnerChanges", ownerChanges},
	{"OwnerLimit", ownerLimit},
	{"ConcurrentRevoke", concurrentRevoke},
	{"PeerRevoke", peerRevoke},
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

// revokes checks how many sessions of a principal there were to revoke.
func (e *env) revokes(r session.Revoker, principal, why string, want int) {
	e.Helper()
	switch got, err := r.Revoke(e.ctx, principal); {
	case err != nil:
		e.Fatalf("Revoke %s: %v", why, err)
	case got != want:
		e.Errorf("Revoke %s: it returned %d, want %d", why, got, want)
	}
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

// revoke: Revoke ends all sessions of one principal, and no other one. At once, no copy of them can be stored.
func revoke(e *env) {
	r := need(e, e.revoker)
	mine, theirs := e.principal(), e.principal()
	sessions, others, unowned := e.ownedBy(mine, 5), e.ownedBy(theirs, 2), e.fresh().WithPrincipal("")
	e.store(unowned)
	deleted, loaded := sessions[0], e.load(sessions[1].ID())
	e.delete(deleted.ID())
	changed, ending := sessions[2].With("k", "v"), e.fresh().WithPrincipal(mine).WithExpiresAt(time.Now().Add(soon))
	e.store(changed)
	e.store(ending)
	e.outlive(ending) // it does not count

	e.revokes(r, mine, "of 4 sessions", 4)
	for _, s := range sessions {
		e.gone(s.ID(), "after Revoke")
	}
	for _, late := range []*session.Session{loaded.With("k", "late"), changed, sessions[3].WithPrincipal(theirs)} {
		e.fails("Store of a copy of a revoked session", e.Storage.Store(e.ctx, late), session.ErrNotFound)
		e.gone(late.ID(), "after a late Store of a revoked session")
	}
	e.lists(mine, "after Revoke")
	e.revokes(r, mine, "for the second time", 0)
	e.revokes(r, "", "of no principal", 0)
	e.revokes(r, e.principal(), "of a principal without sessions", 0)
	for _, s := range append(others, unowned) {
		e.untouched("Revoke of another principal", s)
	}
	e.lists(theirs, "after Revoke of another principal", others...)

	again := e.ownedBy(mine, 1)
	e.untouched("storing a session of a principal that was revoked", again[0])
	e.revokes(r, mine, "of a new session", 1)
	e.gone(again[0].ID(), "after Revoke of a new session")
}

// nastyPrincipals are different from each other, and each means something special to some storage that is not careful.
var nastyPrincipals = []string{
	" ", "  ", "a", "A", "a ", " a", "a b", "a%20b", "a\x00b", "\x00", "*", "?", "[a-z]*", "{a}{b}", "{}", "a:b", "a|b",
	`\`, `"`, "'", "\r\n", "é", "e\u0301", "\u202eabc", "\ufffd", "%", "!owners", "0", "null", strings.Repeat("x", 5000),
	strings.Repeat("x", 4999) + "y", session.Principal("https://issuer.example", "a b"),
}

// revokeNasty: every principal works like any other.
func revokeNasty(e *env) {
	r := need(e, e.revoker)
	sessions := map[string]*session.Session{}
	for _, principal := range nastyPrincipals {
		sessions[principal] = e.ownedBy(principal, 1)[0]
	}
	for i, principal := range nastyPrincipals {
		e.lists(principal, "of principal "+strconv.Quote(principal), sessions[principal])
		if i%2 == 0 {
			e.revokes(r, principal, "of principal "+strconv.Quote(principal), 1)
			e.gone(sessions[principal].ID(), "after Revoke")
			delete(sessions, principal)
		}
	}
	for principal, s := range sessions {
		e.untouched("Revoke of principals that are not "+strconv.Quote(principal), s)
	}
	invalid := e.ownedBy("not UTF-8 \xff", 1)[0]
	e.lists("not UTF-8 \xff", "of a principal that is not UTF-8", invalid)
	e.revokes(r, "not UTF-8 \xff", "of a principal that is not UTF-8", 1)
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

// ownerLimit: no principal has more sessions than the storage allows, and what is full refuses or makes room.
func ownerLimit(e *env) {
	if e.OwnerLimit <= 0 {
		e.Skipf("Subject.OwnerLimit is not set")
	}
	mine := e.principal()
	var sessions []*session.Session
	for range e.OwnerLimit {
		sessions = append(sessions, e.ownedBy(mine, 1)...)
		if len(sessions) < 10 {
			time.Sleep(2 * time.Millisecond) // so that it is known which one is idle longest
		}
	}
	e.lists(mine, "at the limit", sessions...)
	sessions[0] = sessions[0].With("k", "v")
	e.store(sessions[0])
	e.untouched("a change at the limit", sessions[0])
	e.store(e.fresh().WithPrincipal(""))
	other := e.ownedBy(e.principal(), 1)[0]

	moved := other.WithPrincipal(mine)
	news := []struct {
		name  string
		s     *session.Session
		write func(context.Context, *session.Session) error
	}{{"Store of a session of another owner", moved, e.Storage.Store}}
	for _, op := range e.creates() {
		news = append(news, struct {
			name  string
			s     *session.Session
			write func(context.Context, *session.Session) error
		}{op.name + " of a new session", e.fresh().WithPrincipal(mine), op.call})
	}
	if e.OverLimit == session.RefuseNew {
		for _, n := range news {
			e.fails(n.name+" over the limit", n.write(e.ctx, n.s), session.ErrTooMany)
		}
		e.untouched("a refused Store", other)
		e.lists(mine, "after refusals", sessions...)
		e.delete(sessions[0].ID())
		sessions = sessions[1:]
		e.store(news[1].s)
		e.lists(mine, "after one has made room", append(sessions, news[1].s)...)
		return
	}
	idle := sessions[1:] // the first one was stored again
	if e.Staleness == 0 {
		e.load(idle[0].ID()) // a cache may tell that later
		idle = idle[1:]
	}
	for i, n := range news {
		idlest := idle[i]
		if err := n.write(e.ctx, n.s); err != nil {
			e.Fatalf("%s over the limit: %v", n.name, err)
		}
		e.settle()
		e.gone(idlest.ID(), "of the idlest session after "+n.name)
		e.fails("Store of a copy of it", e.Storage.Store(e.ctx, idlest), session.ErrNotFound)
	}
}

// concurrentRevoke: a session whose Store has returned before Revoke is called does not survive it, also if it is
// changed meanwhile. Sessions that are stored during a Revoke may survive it, but not the next one.
func concurrentRevoke(e *env) {
	r := need(e, e.revoker)
	const each = 5 // fewer in all than a usual OwnerLimit
	mine := e.principal()
	var mu sync.Mutex
	var ids []string // guarded by mu
	noted := func(more ...string) []string {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, more...)
		return slices.Clone(ids)
	}
	survives := func(id string) bool {
		_, err := e.Storage.Load(e.ctx, id)
		return err == nil
	}
	together(writers, func(i int) {
		for range each {
			if i%2 == 0 {
				e.storeAndChange(mine, func(id string) { noted(id) })
				continue
			}
			before := noted()
			if _, err := r.Revoke(e.ctx, mine); err != nil {
				e.Errorf("Revoke during Store: %v", err)
			}
			if slices.ContainsFunc(before, survives) {
				e.Errorf("a session that was stored before Revoke was called survives it")
			}
			time.Sleep(time.Millisecond)
		}
	})
	e.settle()
	left := 0
	for _, id := range noted() {
		if survives(id) {
			left++
		}
	}
	e.revokes(r, mine, "of what is left", left)
	if slices.ContainsFunc(noted(), survives) {
		e.Errorf("a session survives the last Revoke")
	}
}

// storeAndChange stores a session of a principal, tells its id, and changes it a few times until it is revoked.
func (e *env) storeAndChange(principal string, stored func(id string)) {
	s := e.fresh().WithPrincipal(principal)
	err := e.Storage.Store(e.ctx, s)
	stored(s.ID())
	for i := 0; i < 5 && err == nil; i++ {
		time.Sleep(time.Millisecond / 4)
		s = s.With("n", strconv.Itoa(i))
		err = e.Storage.Store(e.ctx, s)
	}
	if err != nil {
		e.fails("Store of a change during Revoke", err, session.ErrNotFound)
	}
}

// peerRevoke: a Revoke through one instance is seen through the other within Staleness.
func peerRevoke(e *env) {
	e.needPeer()
	r := need(e, e.revoker)
	mine := e.principal()
	sessions := e.ownedBy(mine, 3)
	theirs := sessions[0].With("k", "v")
	if err := e.Peer.Store(e.ctx, theirs); err != nil {
		e.Fatalf("Store through the peer: %v", err)
	}
	created := e.fresh().WithPrincipal(mine)
	if err := e.Peer.Store(e.ctx, created); err != nil {
		e.Fatalf("Store through the peer: %v", err)
	}
	sessions = append(sessions, created)
	for _, s := range sessions {
		e.loadFrom(e.Peer, s.ID())
	}
	e.revokes(r, mine, "of sessions that were stored through both instances", 4)
	for _, s := range sessions {
		e.gone(s.ID(), "after Revoke")
	}
	e.settle()
	for _, s := range sessions {
		e.goneFrom(e.Peer, s.ID(), "through the peer after Revoke")
	}
}
