package sessiontest

import (
	"context"
	"slices"
	"time"

	"github.com/seed34611480/session"
)

var revalidatorCases = []testCase{
	{"Revalidate", revalidate},
	{"RevalidateKeepsAlive", revalidateKeepsAlive},
	{"RevalidateCountsFromTheUse", revalidateCountsFromTheUse},
	{"RevalidateExpired", revalidateExpired},
}

// uses are the uses of some sessions so long ago.
func uses(idle time.Duration, sessions ...*session.Session) []session.Use {
	var all []session.Use
	for _, s := range sessions {
		all = append(all, session.Use{
			ID: s.ID(), Revision: s.Revision(), ExpiresAt: s.ExpiresAt(), At: time.Now().Add(-idle),
		})
	}
	return all
}

// revalidates checks the answers of Revalidate for some sessions that are used now.
func (e *env) revalidates(why string, r session.Revalidator, want []bool, sessions ...*session.Session) {
	e.Helper()
	e.revalidatesUses(why, r, want, uses(0, sessions...))
}

func (e *env) revalidatesUses(why string, r session.Revalidator, want []bool, of []session.Use) {
	e.Helper()
	got, err := r.Revalidate(e.ctx, of)
	if err != nil {
		e.Fatalf("Revalidate %s: %v", why, err)
	}
	if !slices.Equal(got, want) {
		e.Errorf("Revalidate %s: got %v, want %v", why, got, want)
	}
}

// revalidate: Revalidate is true for exactly the sessions that are stored as they were loaded. It changes nothing.
func revalidate(e *env) {
	r := need(e, e.revalidator)
	same, changed, deleted, other := e.stored(), e.stored(), e.stored(), e.stored()
	loaded := e.load(other.ID())
	next := changed.With("k", "v")
	e.store(next)
	e.delete(deleted.ID())
	recreated := e.stored()
	e.delete(recreated.ID())
	again := session.New(recreated.ID())
	e.store(again)
	changing := e.load(same.ID()).With("k", "v") // but not stored

	e.revalidates("of nothing", r, nil)
	e.revalidates("of one", r, []bool{true}, same)
	e.revalidates("of many", r,
		[]bool{true, false, true, false, false, true, true, false, true, true},
		same, changed, next, deleted, recreated, again, loaded, e.fresh(), changing, same)
	for _, s := range []*session.Session{same, next, again, other} {
		e.untouched("Revalidate", s)
	}
	e.gone(deleted.ID(), "after Revalidate")

	_, err := r.Revalidate(e.ctx, uses(0, same, new(session.Session)))
	e.fails("Revalidate of a zero session", err, session.ErrInvalidID)
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err = r.Revalidate(ended, uses(0, same))
	e.fails("Revalidate with an ended context", err, context.Canceled)
}

// revalidateKeepsAlive: Revalidate restarts the TTL, as Load does.
func revalidateKeepsAlive(e *env) {
	r := need(e, e.revalidator)
	busy, also, idle := e.stored(), e.fresh().WithExpiresAt(time.Now().Add(1000*e.TTL)), e.stored()
	e.store(also)
	for lived := time.Duration(0); lived < time.Duration(e.longRun)*e.TTL; lived += e.busyStep() {
		e.Advance(e.busyStep())
		e.revalidates("every 3/4 TTL", r, []bool{true, true}, busy, also)
	}
	e.revalidates("of a session that was idle all the time", r, []bool{true, false}, busy, idle)
	e.gone(idle.ID(), "of a session that was idle all the time")
	e.untouched("revalidating it many times", busy)
	e.untouched("revalidating it many times", also)
	e.expire()
	e.revalidates("of sessions that were idle for longer than the TTL", r, []bool{false, false}, busy, also)
	e.gone(busy.ID(), "of a session that was idle for longer than the TTL, and revalidated")
}

// revalidateCountsFromTheUse: the TTL starts at the use, not when the storage is told of it. What is stored never lives
// for less than before.
func revalidateCountsFromTheUse(e *env) {
	r := need(e, e.revalidator)
	fresh := e.stored()
	e.revalidatesUses("of a use half a TTL ago", r, []bool{true}, uses(e.TTL/2, fresh))
	e.Advance(e.busyStep())
	e.untouched("revalidating a use that is older than the last one", fresh)

	busy, also, late, old := e.stored(), e.stored(), e.stored(), e.stored()
	e.store(old.With("k", "v"))
	e.Advance(e.busyStep())
	told := slices.Concat(uses(e.TTL/2, busy, also, old), uses(e.TTL, late))
	e.revalidatesUses("of uses half a TTL ago, and a TTL ago", r, []bool{true, true, false, false}, told)
	e.Advance(e.TTL * 3 / 8)
	e.gone(late.ID(), "of a session whose use was a TTL ago when it was told")
	e.gone(old.ID(), "of a session that was used with another revision")
	e.untouched("revalidating a use half a TTL ago", busy)
	e.Advance(e.TTL / 4)
	e.gone(also.ID(), "of a session that was used more than a TTL ago")
}

// revalidateExpired: Revalidate does not keep a session beyond its ExpiresAt.
func revalidateExpired(e *env) {
	r := need(e, e.revalidator)
	s := e.ending()
	e.revalidates("before ExpiresAt", r, []bool{true}, s)
	e.outlive(s)
	e.revalidates("after ExpiresAt", r, []bool{false}, s)
	late := s.WithExpiresAt(time.Now().Add(time.Hour))
	e.fails("Store of a copy with a later end, after ExpiresAt", e.Storage.Store(e.ctx, late), session.ErrNotFound)
	e.gone(s.ID(), "after ExpiresAt and Revalidate")
}
