package session

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsBoundedBySessionsInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Minute)
		for i := range 10_000 { // clients that never delete
			require.NoError(t, m.Store(t.Context(), New(fmt.Sprint("id-", i))))
			time.Sleep(time.Second)
		}
		require.Equal(t, 60, m.records.Len())
	})
}

// flood fills a storage with sessions that are idle for the TTL afterwards, in a bubble.
func flood(t *testing.T, m *MemoryStorage, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, m.Store(t.Context(), New(fmt.Sprintf("id-of-a-usual-length-%012d", i))))
	}
	time.Sleep(m.TTL())
}

// holds checks which sessions a storage has in memory, over or not.
func holds(t *testing.T, m *MemoryStorage, ids ...string) {
	t.Helper()
	require.Equal(t, len(ids), m.records.Len())
	for _, id := range ids {
		require.NotNil(t, m.records.Get(id))
	}
}

func TestReadsFreeIdleSessions(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, m *MemoryStorage) error{
		"load": func(ctx context.Context, m *MemoryStorage) error { _, err := m.Load(ctx, testID); return err },
		"peek": func(ctx context.Context, m *MemoryStorage) error { _, err := m.Peek(ctx, testID); return err },
		"miss": func(ctx context.Context, m *MemoryStorage) error {
			if _, err := m.Load(ctx, "absent"); !errors.Is(err, ErrNotFound) {
				return errors.New("found")
			}
			return nil
		},
		"take": func(ctx context.Context, m *MemoryStorage) error {
			if _, err := m.Take(ctx, "absent"); !errors.Is(err, ErrNotFound) {
				return errors.New("found")
			}
			return nil
		},
		"delete": func(ctx context.Context, m *MemoryStorage) error { return m.Delete(ctx, "absent") },
	} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemoryStorage(time.Minute)
			flood(t, m, 10_000)
			require.NoError(t, m.Store(t.Context(), New(testID)))
			require.Greater(t, m.records.Len(), 9_000, "no call has to pay for the flood")
			for range 10_000 / 4 {
				require.NoError(t, call(t.Context(), m), name)
			}
			holds(t, m, testID)
		})
	}
}

// TestMemoryIsGivenBackAfterAFlood is not parallel, as it measures the memory of the process.
func TestMemoryIsGivenBackAfterAFlood(t *testing.T) {
	inUse := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Minute)
		ids := []string{"busy-1", "busy-2", "busy-3"}
		before := inUse()
		flood(t, m, 200_000)
		full := inUse()
		for _, id := range ids {
			require.NoError(t, m.Store(t.Context(), New(id)))
		}
		for i := range 100_000 {
			_, err := m.Load(t.Context(), ids[i%3])
			require.NoError(t, err)
		}
		after := inUse()
		t.Logf("KiB: %d before, %d full, %d after", before>>10, full>>10, after>>10)
		require.Less(t, after, before+(full-before)/50)
		holds(t, m, ids...)
		runtime.KeepAlive(m)
	})
}

func TestSweepOfManySessionsIsNoGap(t *testing.T) {
	t.Parallel()
	for _, n := range []int{5000, 50_000} {
		for _, stalled := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemoryStorage(time.Hour)
				for i := range n {
					require.NoError(t, m.Store(t.Context(), New(fmt.Sprintf("id-of-a-usual-length-%012d", i))))
				}
				time.Sleep(time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				removed, gaps, goOn := 0, 0, make(chan struct{})
				if !stalled {
					close(goOn)
				}
				watched := later(func() error {
					return m.Watch(ctx, time.Hour, func(e Event) {
						<-goOn
						switch e.(type) {
						case Removed:
							removed++
						case Gap:
							gaps++
						}
					})
				})
				synctest.Wait()
				require.NoError(t, m.DeleteExpired(t.Context(), time.Now()))
				require.Zero(t, m.records.Len())
				if stalled {
					close(goOn)
				}
				synctest.Wait()
				require.Equal(t, n, removed)
				require.Equal(t, 1, gaps, "the one that a watch begins with")
				cancel()
				require.ErrorIs(t, <-watched, context.Canceled)
			})
		}
	}
}

func TestStuckMemoryWatcherCostsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		goOn := make(chan struct{})
		watched := later(func() error { return m.Watch(ctx, time.Hour, func(Event) { <-goOn }) })
		synctest.Wait()
		for i := range 10_000 {
			require.NoError(t, m.Delete(t.Context(), fmt.Sprintf("%04096d", i)))
		}
		for w := range m.events.watchers {
			kept := 0
			for _, e := range w.backlog {
				if removed, ok := e.(Removed); ok {
					kept += len(removed.ID)
				}
			}
			require.Equal(t, w.bytes, kept)
			require.LessOrEqual(t, kept, maxBacklogBytes)
			require.Equal(t, Gap{}, w.backlog[0])
		}
		close(goOn)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
	})
}

func TestSweepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m := NewMemoryStorage(time.Hour)
	for i := range 5000 {
		require.NoError(t, m.Store(t.Context(), New(fmt.Sprint("id-", i))))
	}
	ctx := &endsLater{Context: t.Context(), left: 3}
	err := m.DeleteExpired(ctx, time.Now().Add(time.Second))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3000, 5000-m.records.Len())
}

// endsLater is a context that ends after it was asked a number of times.
type endsLater struct {
	context.Context //nolint:containedctx // it is one

	left int
}

func (c *endsLater) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		store := func(id string) { require.NoError(t, m.Store(t.Context(), New(id))) }
		store("idle")
		store("busy")
		time.Sleep(time.Minute)
		before := time.Now()
		_, err := m.Load(t.Context(), "busy")
		require.NoError(t, err)
		store("new")

		require.NoError(t, m.DeleteExpired(t.Context(), before))
		holds(t, m, "busy", "new")

		time.Sleep(time.Hour)
		w := m.events.join()
		require.NoError(t, m.DeleteExpired(t.Context(), before.Add(-time.Hour)))
		require.Zero(t, m.records.Len(), "expired sessions are removed too")
		require.Equal(t, []Event{Gap{}}, w.backlog, "which is no news")
	})
}

func TestMemoryStorageKeepsItsRevisions(t *testing.T) {
	t.Parallel()
	a, b := NewMemoryStorage(time.Hour), NewMemoryStorage(time.Hour)
	require.NoError(t, a.Store(t.Context(), New(testID)))
	s, err := a.Load(t.Context(), testID)
	require.NoError(t, err)
	want := s.Revision()
	b.lastRevision = want // revisions are times, so make sure that b starts with another one
	require.NoError(t, b.Create(t.Context(), s), "stamps what a has handed out")
	require.NotEqual(t, want, s.Revision())

	s, err = a.Load(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, want, s.Revision())
	require.NoError(t, a.Store(t.Context(), s.With("k", "v")))
}

func TestLoadsOfOneSessionShareNoRevision(t *testing.T) {
	t.Parallel()
	a, b := NewMemoryStorage(time.Hour), NewMemoryStorage(time.Hour)
	require.NoError(t, a.Store(t.Context(), New(testID)))
	var loads sync.WaitGroup
	for range 4 { // others, which store what they load in another storage
		loads.Go(func() {
			for range 1000 {
				s, err := a.Load(t.Context(), testID)
				require.NoError(t, err)
				require.NoError(t, b.Store(t.Context(), s.Detached()))
				Stamp(s, 7)
			}
		})
	}
	first, err := a.Load(t.Context(), testID)
	require.NoError(t, err)
	want := first.Revision()
	for range 10_000 {
		s, err := a.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, want, s.Revision())
	}
	loads.Wait()
}

func TestMemoryStorageRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, -1} {
		require.Panics(t, func() { NewMemoryStorage(ttl) })
	}
	for name, option := range map[string]func(){
		"negative lifetime":  func() { WithMaxLifetime(-1) },
		"too short lifetime": func() { WithMaxLifetime(time.Millisecond - 1) },
		"no sessions at all": func() { WithOwnerLimit(0, RefuseNew) },
		"negative limit":     func() { WithOwnerLimit(-1, EndIdlest) },
		"unknown policy":     func() { WithOwnerLimit(1, EndIdlest+1) },
		"negative policy":    func() { WithOwnerLimit(1, -1) },
	} {
		require.Panics(t, option, name)
	}
	m := NewMemoryStorage(time.Hour, WithMaxLifetime(time.Minute), WithMaxLifetime(0))
	require.Equal(t, time.Hour, m.TTL())
	require.Zero(t, m.MaxLifetime(), "the last option counts, and 0 is none")
}

func TestMemoryWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var events []Event
		watched := later(func() error {
			return m.Watch(ctx, time.Second, func(e Event) { events = append(events, e) })
		})
		synctest.Wait()
		s := New(testID)
		require.NoError(t, m.Store(t.Context(), s))
		first := s.Revision()
		require.NoError(t, m.Store(t.Context(), s))
		require.NoError(t, m.Delete(t.Context(), testID))
		require.NoError(t, m.Delete(t.Context(), testID))
		require.ErrorIs(t, m.Store(t.Context(), s), ErrNotFound)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []Event{
			Gap{},
			Changed{testID, first},
			Changed{testID, s.Revision()},
			Removed{testID, s.Revision()},
			Removed{ID: testID},
			Alive{AsOf: time.Now()},
		}, events)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
		require.Empty(t, m.events.watchers)
	})
	require.Panics(t, func() { _ = NewMemoryStorage(1).Watch(t.Context(), 0, nil) })
}

func TestMemoryProvesNothingAheadOfItsEvents(t *testing.T) {
	t.Parallel()
	for range 30 { // both cases of the watcher's select are ready, and either may run first
		synctest.Test(t, func(t *testing.T) {
			m := NewMemoryStorage(time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			stalled, events := make(chan struct{}), []Event(nil)
			watched := later(func() error {
				return m.Watch(ctx, time.Second, func(e Event) {
					<-stalled
					events = append(events, e)
				})
			})
			synctest.Wait()
			require.NoError(t, m.Delete(t.Context(), testID))
			time.Sleep(time.Second)
			close(stalled)
			synctest.Wait()
			require.Equal(t, []Event{Gap{}, Removed{ID: testID}, Alive{time.Now()}}, events)
			cancel()
			require.ErrorIs(t, <-watched, context.Canceled)
		})
	}
}

func TestStalledMemoryWatcherGetsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		stalled, events := make(chan struct{}), make([]Event, 0, maxBacklog)
		watched := later(func() error {
			return m.Watch(ctx, time.Hour, func(e Event) {
				<-stalled
				events = append(events, e)
			})
		})
		synctest.Wait()
		for range maxBacklog + 10 {
			require.NoError(t, m.Delete(t.Context(), testID))
		}
		close(stalled)
		synctest.Wait()
		require.Equal(t, []Event{Gap{}, Gap{}}, events[:2])
		require.Len(t, events, 2+10)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
	})
}

func TestOwnLifetimesNeedNoSweep(t *testing.T) {
	t.Parallel()
	for name, lifetime := range map[string]func(s *Session) *Session{
		"longer":  func(s *Session) *Session { return s.WithIdleTimeout(10 * time.Minute) },
		"shorter": func(s *Session) *Session { return s.WithIdleTimeout(time.Second) },
		"none": func(s *Session) *Session {
			return s.WithIdleTimeout(NoIdleTimeout).WithExpiresAt(time.Now().Add(10 * time.Minute))
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemoryStorage(time.Minute)
			for i := range 10_000 {
				require.NoError(t, m.Store(t.Context(), lifetime(New(fmt.Sprint("id-", i)).WithPrincipal("p"))))
			}
			time.Sleep(10 * time.Minute)
			require.NoError(t, m.Store(t.Context(), New(testID)))
			require.Greater(t, m.records.Len(), 9_000, "no call has to pay for the flood")
			for range 10_000 / 4 {
				_, err := m.Peek(t.Context(), testID)
				require.NoError(t, err, name)
			}
			holds(t, m, testID)
			require.Zero(t, m.records.GroupLen("p"))
		})
	}
}
