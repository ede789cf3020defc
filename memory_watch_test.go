package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
