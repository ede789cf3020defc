package live

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestExpiry waits for the end of a session that is used once: no caller asks again.
func TestExpiry(t *testing.T) {
	noPeek := func(st *session.MemoryStorage) session.Storage { return withoutPeek(st) }
	peek := func(st *session.MemoryStorage) session.Storage { return newPeekable(st) }
	nothing := func(st *session.MemoryStorage) session.Storage { return plain{st} }
	for name, test := range map[string]struct {
		storage func(*session.MemoryStorage) session.Storage
		idle    time.Duration // of the session itself
		until   time.Duration // the absolute end; 0 for none
		ends    time.Duration // 0: never
	}{
		"idle":                       {noPeek, 0, 0, ttl},
		"idle, peek":                 {peek, 0, 0, ttl},
		"idle, the TTL is not known": {nothing, 0, 0, 0},
		"absolute":                   {noPeek, 0, ttl / 3, ttl / 3},
		"absolute, peek":             {peek, 0, ttl / 3, ttl / 3},
		"absolute, nothing":          {nothing, 0, 3 * ttl, 3 * ttl},
		"absolute, later than idle":  {noPeek, 0, 3 * ttl, ttl},
		"own idle time":              {noPeek, 3 * ttl, 0, 3 * ttl},
		"own idle time, peek":        {peek, 3 * ttl, 0, 3 * ttl},
		"own short idle time":        {noPeek, ttl / 2, 0, ttl / 2},
		"own idle time, nothing":     {nothing, ttl / 2, 0, ttl / 2},
		"no idle time":               {noPeek, session.NoIdleTimeout, 3 * ttl, 3 * ttl},
		"no idle time, peek":         {peek, session.NoIdleTimeout, 3 * ttl, 3 * ttl},
		"no idle time, nothing":      {nothing, session.NoIdleTimeout, 3 * ttl, 3 * ttl},
	} {
		for _, inUse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in use: %t", name, inUse), func(t *testing.T) {
				bubble(t, func(t *testing.T, st *session.MemoryStorage) {
					w := new(workshop)
					o := setUp(t, test.storage(st), w)
					time.Sleep(2 * heartbeat) // until events are complete, which is a reason to look
					update(t, st, "a", func(s *session.Session) *session.Session {
						if test.until > 0 {
							s = s.WithExpiresAt(time.Now().Add(test.until))
						}
						return s.WithIdleTimeout(test.idle)
					})
					ref := get(t, o, "a")
					if !inUse {
						ref.Release()
					}
					start := time.Now()
					select {
					case <-ref.Done():
						require.Equal(t, Expired, ref.Reason())
						require.InDelta(t, test.ends, time.Since(start), float64(time.Millisecond))
					case <-time.After(10 * ttl):
						require.Zero(t, test.ends)
						ref.Release()
						return
					}
					synctest.Wait()
					require.Equal(t, inUse, len(w.ends()) == 0)
					_, err := o.Get(t.Context(), "a")
					require.ErrorIs(t, err, session.ErrNotFound)
					ref.Release()
				})
			})
		}
	}
}

func TestUsesKeepTheObject(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, withoutPeek(st), w)
		held := get(t, o, "a")
		defer held.Release()
		for range 30 {
			time.Sleep(ttl / 4)
			require.Same(t, held.Object, use(t, o, "a"))
		}
		require.False(t, isClosed(held.Done()))
		lastUse := time.Now()
		<-held.Done()
		require.Equal(t, ttl, time.Since(lastUse))
	})
}

// TestUsesElsewhereKeepTheObject has one replica that uses a session, and one that only has its object.
func TestUsesElsewhereKeepTheObject(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		peekable := newPeekable(st)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		for range 30 {
			time.Sleep(ttl / 2)
			_, err := peekable.Load(t.Context(), "a")
			require.NoError(t, err)
		}
		require.Empty(t, w.ends())
		require.InDelta(t, 15*peeksPerTTL, len(peekable.peeks()), 2)
		time.Sleep(ttl * (peeksPerTTL + 1) / peeksPerTTL)
		require.Equal(t, []string{"a expired"}, w.ends())
	})
}

// TestObjectOpensTooLate opens an object for so long that its session is over by then.
func TestObjectOpensTooLate(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		update(t, st, "a", func(s *session.Session) *session.Session {
			return s.WithExpiresAt(time.Now().Add(time.Second))
		})
		w := &workshop{making: sleeper(time.Second)}
		o := setUp(t, st, w)
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, session.ErrNotFound)
		synctest.Wait()
		require.Equal(t, []string{"a expired"}, w.ends())
	})
}

// TestAbsoluteEndMoves is about the timer: a session that was prolonged, or ends earlier than the timer was set for.
func TestAbsoluteEndMoves(t *testing.T) {
	for name, moves := range map[string]time.Duration{"later": 20 * time.Minute, "earlier": 2 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				start := time.Now()
				end := func(d time.Duration) {
					update(t, st, "a", func(s *session.Session) *session.Session { return s.WithExpiresAt(start.Add(d)) })
				}
				end(10 * time.Minute)
				same := WithSame(func(_, _ *session.Session) bool { return true })
				byEvent := setUp(t, newPeekable(st), new(workshop), same)
				byGet := setUp(t, withoutPeek(st), new(workshop), same)
				first, second := get(t, byEvent, "a"), get(t, byGet, "a")
				first.Release()
				second.Release()
				end(moves)
				use(t, byGet, "a")
				for _, ref := range []*Ref[*thing]{first, second} {
					<-ref.Done()
					require.Equal(t, moves, time.Since(start))
					require.Equal(t, Expired, ref.Reason())
				}
			})
		})
	}
}

// TestGap loses events: sessions ended, and one was replaced.
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		w := new(workshop)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		held := get(t, o, "b")
		kept := use(t, o, "c")
		update(t, st, "b", func(s *session.Session) *session.Session { return s.With("k", "v") })
		peekable.set(func() { peekable.lost["a"] = true })
		synctest.Wait()
		require.Empty(t, w.ends(), "no event came")

		before := peekable.loads["c"]
		time.Sleep(time.Second)
		reporter.report(session.Gap{})
		require.ElementsMatch(t, []string{"a", "b", "c"}, peekable.peeks())
		require.Equal(t, []string{"a removed"}, w.ends())
		require.Equal(t, Superseded, held.Reason())
		require.Equal(t, before, peekable.loads["c"], "a look is no use")
		require.Same(t, kept, use(t, o, "c"))
		held.Release()
		require.Equal(t, []string{"b superseded"}, w.ends())
	})
}

// TestRemovalDuringAGap is lost after the Gap was reported, and before events are complete again.
func TestRemovalDuringAGap(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		w := new(workshop)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		reporter.report(session.Gap{})
		use(t, o, "b")
		peekable.set(func() { peekable.lost["a"], peekable.lost["b"] = true, true })
		reporter.report(session.Alive{AsOf: time.Now()})
		require.ElementsMatch(t, []string{"a removed", "b removed"}, w.ends())

		use(t, o, "c")
		peekable.peeks()
		reporter.report(session.Alive{AsOf: time.Now()})
		require.Empty(t, peekable.peeks(), "nothing is missed any more")
	})
}

// TestGapWithALocalTier is about a RoutingStorage whose copy is young, and misses the removal as the events do.
func TestGapWithALocalTier(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		routing := session.NewRoutingStorage(peekable, 100)
		defer func() { require.NoError(t, routing.Close()) }()
		w := new(workshop)
		o := setUp(t, routing, w)
		reporter.report(session.Alive{AsOf: time.Now()})
		use(t, o, "a")
		use(t, o, "b")
		peekable.set(func() { peekable.lost["a"] = true })
		use(t, o, "a") // of the copy
		reporter.report(session.Gap{})
		require.Equal(t, []string{"a removed"}, w.ends())
		require.Equal(t, "b", use(t, o, "b").session.ID())
	})
}

// TestGapWithoutPeek is about what must not happen: that a look keeps an idle session alive.
func TestGapWithoutPeek(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		reporter := newReporter(st)
		w := new(workshop)
		o := setUp(t, reporter, w)
		use(t, o, "a")
		time.Sleep(ttl / 2)
		reporter.report(session.Gap{})
		time.Sleep(ttl / 2)
		synctest.Wait()
		require.Equal(t, []string{"a expired"}, w.ends())
		_, err := st.Load(t.Context(), "a")
		require.ErrorIs(t, err, session.ErrNotFound)
	})
}

func TestGapWhileItIsOpened(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		w := &workshop{making: sleeper(time.Second)}
		o := setUp(t, peekable, w)
		time.AfterFunc(time.Second/2, func() {
			peekable.set(func() { peekable.lost["a"] = true })
			reporter.events <- session.Gap{}
		})
		if ref, err := o.Get(t.Context(), "a"); err == nil { // before it is looked at
			synctest.Wait()
			require.Equal(t, Removed, ref.Reason())
			ref.Release()
		}
		require.Equal(t, []string{"a removed"}, w.ends())
	})
}

func TestChecksAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		var now, most atomic.Int64
		peekable.peeking = func() {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
		}
		w := new(workshop)
		o := setUp(t, peekable, w)
		const objects = 40
		for i := range objects {
			id := fmt.Sprint("s", i)
			require.NoError(t, st.Store(t.Context(), session.New(id)))
			use(t, o, id)
		}
		reporter.report(session.Gap{})
		reporter.report(session.Gap{}) // those that wait are queued once; those that are asked about, again
		time.Sleep(time.Minute)
		require.EqualValues(t, maxCheckers, most.Load())
		require.Len(t, peekable.peeks(), objects+maxCheckers)
		requireLeft(t, o, objects, objects)
	})
}

// TestChecksInAnOutage keeps the objects until the storage answers.
func TestChecksInAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		w := new(workshop)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		use(t, o, "b")
		peekable.set(func() {
			peekable.lost["a"] = true
			peekable.err = session.ErrUnavailable
		})
		reporter.report(session.Gap{})
		time.Sleep(5 * time.Minute)
		require.Empty(t, w.ends())
		require.Less(t, len(peekable.peeks()), 200, "with pauses")
		peekable.set(func() { peekable.err = nil })
		time.Sleep(maxCheckPause)
		require.Equal(t, []string{"a removed"}, w.ends())
		requireLeft(t, o, 1, 1)
	})
}

// TestGoneAndLoaded is about two answers at about the same time: the object goes only when another one confirms it.
func TestGoneAndLoaded(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable, reporter := newReported(st)
		w := new(workshop)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		peekable.set(func() {
			peekable.lost["a"] = true
			peekable.peeking = func() {
				peekable.set(func() {
					peekable.peeking = nil
					peekable.lost["a"] = false
				})
				time.Sleep(time.Millisecond)
				use(t, o, "a")
			}
		})
		reporter.report(session.Gap{})
		time.Sleep(time.Minute)
		require.Empty(t, w.ends())
		require.Len(t, peekable.peeks(), 2)
	})
}

// TestPeekIsUnsupported is about a wrapper of a storage that cannot: the timers go on without.
func TestPeekIsUnsupported(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		peekable := newPeekable(st)
		peekable.err = errors.ErrUnsupported
		w := new(workshop)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		start := time.Now()
		ref := get(t, o, "a")
		ref.Release()
		<-ref.Done()
		require.Equal(t, ttl, time.Since(start))
		require.Len(t, peekable.peeks(), 1)
	})
}

// TestRemovalOfASessionThatIsNeverIdle: where no event tells, a look notices it.
func TestRemovalOfASessionThatIsNeverIdle(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		update(t, st, "a", func(s *session.Session) *session.Session {
			return s.WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(time.Now().Add(100 * ttl))
		})
		w := new(workshop)
		peekable := newPeekable(st)
		o := setUp(t, peekable, w)
		use(t, o, "a")
		peekable.set(func() { peekable.lost["a"] = true })
		time.Sleep(ttl / peeksPerTTL)
		synctest.Wait()
		require.Equal(t, []string{"a removed"}, w.ends())
	})
}
