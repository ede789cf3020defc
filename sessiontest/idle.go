package sessiontest

import (
	"time"

	"github.com/seed34611480/session"
)

var idleCases = []testCase{
	{"IdleExpires", idleExpires},
	{"LoadKeepsAlive", loadKeepsAlive},
	{"StoreKeepsAlive", storeKeepsAlive},
	{"LateWriterAfterExpiry", lateWriterAfterExpiry},
	{"DeleteExpired", deleteExpired},
}

// busyStep is the time between two loads of a session in use. It leaves a quarter of the TTL, because a cache may
// report a load that much later.
func (e *env) busyStep() time.Duration { return e.TTL * 3 / 4 }

// expire lets enough time pass for unused sessions to expire.
func (e *env) expire() { e.Advance(e.TTL + e.TTL/8) }

// idleExpires: a session that is not loaded lives for the TTL and no longer. A later ExpiresAt does not change that,
// nor does it matter whether the session was removed.
func idleExpires(e *env) {
	s := e.stored()
	limited := e.fresh().WithExpiresAt(time.Now().Add(1000 * e.TTL))
	e.store(limited)
	loaded := e.stored()
	e.load(loaded.ID())
	e.expire()
	e.gone(s.ID(), "of a session that was idle for longer than the TTL")
	e.gone(limited.ID(), "of a session that was idle for longer than the TTL, but not past its ExpiresAt")
	e.gone(loaded.ID(), "of a session that was loaded once and then idle for longer than the TTL")

	again := session.New(s.ID())
	e.store(again)
	e.untouched("storing under the id of an expired session", again)
}

// loadKeepsAlive: a session in use outlives the TTL many times, an idle one does not, and once idle both are gone.
func loadKeepsAlive(e *env) {
	busy, idle := e.stored(), e.stored()
	for lived := time.Duration(0); lived < time.Duration(e.longRun)*e.TTL; lived += e.busyStep() {
		e.Advance(e.busyStep())
		if _, err := e.Storage.Load(e.ctx, busy.ID()); err != nil {
			e.Fatalf("Load of a session that is loaded every 3/4 TTL, after %v: %v", lived+e.busyStep(), err)
		}
	}
	e.gone(idle.ID(), "of a session that was idle all the time")
	e.untouched("loading it many times", busy)
	e.expire()
	e.gone(busy.ID(), "of a session that was in use, but then idle for longer than the TTL")
}

// storeKeepsAlive: a Store restarts the TTL, too.
func storeKeepsAlive(e *env) {
	s := e.stored()
	for range 3 {
		e.Advance(e.busyStep())
		s = s.With("at", time.Now().String())
		if err := e.Storage.Store(e.ctx, s); err != nil {
			e.Fatalf("Store of a session that is stored every 3/4 TTL: %v", err)
		}
	}
	e.Advance(e.busyStep())
	e.untouched("storing it every 3/4 TTL", s)
}

// lateWriterAfterExpiry: an expired session does not come back when a copy of it is stored.
func lateWriterAfterExpiry(e *env) {
	s := e.stored()
	late := e.load(s.ID()).With("k", "late")
	e.expire()
	e.fails("Store of a copy of an expired session", e.Storage.Store(e.ctx, late), session.ErrNotFound)
	e.gone(s.ID(), "after a late Store of an expired session")
}

// deleteExpired: DeleteExpired spares what was used since the given instant. If the storage sweeps at all, it removes
// the rest.
func deleteExpired(e *env) {
	used, changed, idle := e.stored(), e.stored(), e.stored()
	e.Advance(e.TTL / 2)
	before := time.Now()
	time.Sleep(2 * time.Millisecond) // clocks tick coarsely on some systems
	e.load(used.ID())
	changed = changed.With("k", "v")
	e.store(changed)
	e.settle()
	e.sweep(before)
	_, err := e.Storage.Load(e.ctx, idle.ID()) // at once: a cache, too, knows what it has removed
	e.untouched("DeleteExpired(an instant before it was loaded)", used)
	e.untouched("DeleteExpired(an instant before it was stored)", changed)
	if e.sweeps() {
		e.fails("Load of a session that was idle since before, after DeleteExpired", err, session.ErrNotFound)
	}
	e.expire()
	e.sweep(time.Now())
	e.gone(used.ID(), "of an expired session, after DeleteExpired")
	again := session.New(used.ID())
	e.store(again)
	e.sweep(time.Time{})
	e.untouched("DeleteExpired(the zero time)", again)
}

func (e *env) sweep(before time.Time) {
	e.Helper()
	if err := e.Storage.DeleteExpired(e.ctx, before); err != nil {
		e.Errorf("DeleteExpired: %v", err)
	}
}

// sweeps finds out whether DeleteExpired removes anything, which is optional. With a storage whose clock is not
// time.Now it cannot tell, and returns false: the suite's instants mean nothing to that clock.
func (e *env) sweeps() bool {
	e.Helper()
	if !e.wallClock {
		return false
	}
	s := e.stored()
	e.sweep(time.Now().Add(time.Hour))
	_, err := e.Storage.Load(e.ctx, s.ID())
	return err != nil
}
