package sessiontest

import (
	"slices"
	"time"

	"github.com/seed34611480/session"
)

var ownIdleCases = []testCase{
	{"OwnIdleLonger", ownIdleLonger},
	{"OwnIdleShorter", ownIdleShorter},
	{"OwnIdleNone", ownIdleNone},
	{"OwnIdleChanged", ownIdleChanged},
	{"OwnIdleSwept", ownIdleSwept},
	{"RevalidateOwnIdle", revalidateOwnIdle},
	{"NeverEnds", neverEnds},
	{"MaxLifetime", maxLifetime},
}

// idleFor returns a stored session with an idle time-out of its own.
func (e *env) idleFor(d time.Duration) *session.Session {
	e.Helper()
	s := e.fresh().WithIdleTimeout(d)
	if d < 0 {
		s = s.WithExpiresAt(time.Now().Add(1000 * e.TTL))
	}
	e.store(s)
	return s
}

// ownIdleLonger: a session with a longer idle time-out than the TTL outlives that, and each load starts it anew.
func ownIdleLonger(e *env) {
	idle := 3 * e.TTL
	s, unloaded := e.idleFor(idle), e.idleFor(idle)
	for range 3 {
		e.Advance(2 * e.TTL)
		e.untouched("2/3 of its own idle time-out", s)
	}
	e.gone(unloaded.ID(), "of a session that was idle for twice its own idle time-out")
	e.Advance(idle + e.TTL/8)
	e.gone(s.ID(), "of a session that was idle for longer than its own idle time-out")
	e.fails("Store of a copy of it", e.Storage.Store(e.ctx, s.With("k", "late")), session.ErrNotFound)
}

// ownIdleShorter: a session with a shorter idle time-out than the TTL is gone after that, unless it is used.
func ownIdleShorter(e *env) {
	idle := e.TTL / 2
	s, unloaded, other := e.idleFor(idle), e.idleFor(idle), e.stored()
	for range 4 {
		e.Advance(idle * 3 / 4)
		e.untouched("3/4 of its own idle time-out", s)
		e.load(other.ID())
	}
	e.gone(unloaded.ID(), "of a session that was idle for longer than its own idle time-out")
	e.Advance(idle + e.TTL/8)
	e.gone(s.ID(), "of a session that was idle for longer than its own idle time-out")
	e.untouched("less than its TTL", other)
}

// ownIdleNone: only ExpiresAt ends a session without an idle time-out, used or not.
func ownIdleNone(e *env) {
	s := e.idleFor(session.NoIdleTimeout)
	e.Advance(5 * e.TTL)
	e.untouched("5 TTLs without a use", s)
	s = s.WithExpiresAt(time.Now().Add(soon))
	e.store(s)
	e.use(s, s.ExpiresAt().Add(tolerance))
	unused := e.fresh().WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(time.Now().Add(soon))
	e.store(unused)
	e.outlive(unused)
	e.gone(unused.ID(), "of a session without an idle time-out, past its ExpiresAt")
}

// ownIdleChanged: the idle time-out that was stored last counts.
func ownIdleChanged(e *env) {
	longer, none, back := e.stored(), e.stored(), e.idleFor(3*e.TTL)
	longer = longer.WithIdleTimeout(3 * e.TTL)
	none = none.WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(time.Now().Add(1000 * e.TTL))
	back = back.WithIdleTimeout(0)
	for _, s := range []*session.Session{longer, none, back} {
		e.store(s)
	}
	e.expire()
	e.gone(back.ID(), "of a session whose own idle time-out was removed")
	e.untouched("more than the TTL, with a longer idle time-out", longer)
	e.untouched("more than the TTL, with no idle time-out", none)
	replaced := session.New(longer.ID()) // without a revision
	e.store(replaced)
	e.expire()
	e.gone(replaced.ID(), "of a session that has replaced one with a longer idle time-out")
}

// ownIdleSwept: DeleteExpired leaves a session with an idle time-out of its own, until that is over.
func ownIdleSwept(e *env) {
	longer, none := e.idleFor(2*e.TTL), e.idleFor(session.NoIdleTimeout)
	e.sweep(time.Now().Add(time.Hour))
	e.untouched("DeleteExpired, with a longer idle time-out", longer)
	e.untouched("DeleteExpired, with no idle time-out", none)
	e.Advance(2*e.TTL + e.TTL/8)
	e.sweep(time.Now())
	e.gone(longer.ID(), "of a session that was idle for longer than its own idle time-out, after DeleteExpired")
	e.untouched("DeleteExpired, with no idle time-out", none)
}

// revalidateOwnIdle: Revalidate goes by the idle time-out that a session has itself.
func revalidateOwnIdle(e *env) {
	r := need(e, e.revalidator)
	longer, shorter, none := e.idleFor(4*e.TTL), e.idleFor(e.TTL/2), e.idleFor(session.NoIdleTimeout)
	e.Advance(e.TTL / 4)
	e.revalidates("of sessions with idle time-outs of their own", r, []bool{true, true, true}, longer, shorter, none)
	e.Advance(e.TTL * 3 / 8)
	e.untouched("revalidating it within a short idle time-out", shorter)
	e.Advance(3 * e.TTL)
	told := slices.Concat(uses(2*e.TTL, longer, none), uses(e.TTL*5/8, shorter))
	e.revalidatesUses("of uses that are longer ago than the TTL", r, []bool{true, true, false}, told)
	e.gone(shorter.ID(), "of a session with a short idle time-out, after a use that is longer ago")
	e.Advance(e.TTL * 3 / 2)
	e.untouched("a use within its idle time-out was told", longer)
	e.untouched("many TTLs without a use", none)
	e.Advance(5 * e.TTL)
	e.revalidates("after their idle time-outs", r, []bool{false, true}, longer, none)
}

// neverEnds: a session that neither idleness nor an instant ends is refused.
func neverEnds(e *env) {
	if e.maxLifetime() > 0 {
		e.Skipf("the storage has a maximum lifetime, which ends every session")
	}
	for _, op := range e.writes() {
		s := e.fresh().WithIdleTimeout(session.NoIdleTimeout)
		e.fails(op.name+" of a session that would never end", op.call(e.ctx, s), session.ErrLifetime)
		e.gone(s.ID(), "after a refused "+op.name)
	}
	s := e.idleFor(session.NoIdleTimeout)
	e.fails("Store of a session that would never end", e.Storage.Store(e.ctx, s.WithExpiresAt(time.Time{})),
		session.ErrLifetime)
	e.untouched("a refused Store", s)
}

// maxLifetime returns the storage's, 0 if it has none.
func (e *env) maxLifetime() time.Duration {
	if l, ok := e.Storage.(session.Limiter); ok {
		return l.MaxLifetime()
	}
	return 0
}

// maxLifetime: a session without an end gets one, which stays.
func maxLifetime(e *env) {
	limit := e.maxLifetime()
	if limit <= 0 {
		e.Skipf("the storage has no maximum lifetime")
	}
	ends := func(what string, s *session.Session, want time.Time) *session.Session {
		e.Helper()
		got := e.load(s.ID())
		if off := got.ExpiresAt().Sub(want).Abs(); off > time.Microsecond {
			e.Errorf("ExpiresAt of %s is off by %v", what, off)
		}
		return got
	}
	s := e.stored()
	want := s.CreatedAt().Add(limit)
	got := ends("a new session", s, want)
	time.Sleep(2 * time.Millisecond)
	e.store(got.With("k", "v"))
	got = ends("a session that was stored again", s, want)
	e.store(got.WithExpiresAt(time.Time{}))
	ends("a session whose end was removed", s, want)

	for what, end := range map[string]time.Time{
		"a session with an earlier end": time.Now().Add(limit / 2), "a session with a later end": time.Now().Add(2 * limit),
	} {
		own := e.fresh().WithExpiresAt(end)
		e.store(own)
		ends(what, own, own.ExpiresAt())
	}
	none := e.fresh().WithIdleTimeout(session.NoIdleTimeout)
	e.store(none)
	ends("a session without an idle time-out", none, none.CreatedAt().Add(limit))

	record := e.fresh().Record()
	record.CreatedAt = time.Now().Add(time.Hour)
	early := session.FromRecord(record)
	stored := time.Now()
	e.store(early)
	if end := e.load(early.ID()).ExpiresAt(); end.Before(stored.Add(limit-tolerance)) || end.After(time.Now().Add(limit)) {
		e.Errorf("ExpiresAt of a session that was created in the future is not a lifetime from now")
	}
	for _, op := range e.writes() {
		record = e.fresh().Record()
		record.CreatedAt = time.Now().Add(-limit - time.Second)
		e.fails(op.name+" of a session that was created too long ago", op.call(e.ctx, session.FromRecord(record)),
			session.ErrLifetime)
	}
}
