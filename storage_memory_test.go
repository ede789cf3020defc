package session

import (
	"context"
	"fmt"
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
		require.Equal(t, 60, m.byUse.Len())
	})
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
		require.Equal(t, []string{"busy", "new"}, m.byUse.Keys())

		time.Sleep(time.Hour)
		require.NoError(t, m.DeleteExpired(t.Context(), before.Add(-time.Hour)))
		require.Zero(t, m.byUse.Len(), "expired sessions are removed too")
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

func TestMemoryStorageRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, -1} {
		require.Panics(t, func() { NewMemoryStorage(ttl) })
	}
	require.Equal(t, time.Hour, NewMemoryStorage(time.Hour).TTL())
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
			Removed{testID},
			Removed{testID},
			Alive{AsOf: time.Now()},
		}, events)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
		require.Empty(t, m.watches)
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
			require.Equal(t, []Event{Gap{}, Removed{testID}, Alive{time.Now()}}, events)
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
