package sessiontest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

var revokerCases = []testCase{
	{"Revoke", revoke},
	{"RevokeNasty", revokeNasty},
	{"ConcurrentRevoke", concurrentRevoke},
	{"PeerRevoke", peerRevoke},
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
