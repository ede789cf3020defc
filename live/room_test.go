package live

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestLeastRecentlyUsedMakesRoom(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, st, w, WithMaxObjects(2))
		use(t, o, "a")
		use(t, o, "b")
		use(t, o, "a")
		use(t, o, "c")
		require.Equal(t, []string{"b evicted"}, w.ends())
		held := get(t, o, "a") // the least recently used one, but in use
		use(t, o, "b")
		require.Equal(t, []string{"c evicted"}, w.ends())
		held.Release()
	})
}

func TestGetWaitsForAPlace(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, st, w, WithMaxObjects(1))
		held := get(t, o, "a")

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := o.Get(ctx, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start), "the time-out of open does not count yet")
		require.EqualValues(t, 1, w.opens.Load())

		var all sync.WaitGroup
		order := make(chan string, 3)
		for _, id := range []string{"c", "b", "c"} {
			all.Go(func() {
				ref := get(t, o, id)
				order <- id
				time.Sleep(time.Second)
				ref.Release()
			})
			synctest.Wait()
		}
		held.Release()
		all.Wait()
		got := []string{<-order, <-order, <-order}
		require.Equal(t, []string{"c", "c", "b"}, got, "in the order in which they came, together where they can")
		require.Equal(t, []string{"a evicted", "c evicted"}, w.ends())
	})
}

// TestPlacesAreGivenBack ends each thing that has a place or waits for one.
func TestPlacesAreGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		failed := errors.New("failed")
		w := &workshop{making: func(context.Context, *session.Session) error { return failed }}
		o := setUp(t, st, w, WithMaxObjects(1))
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, failed)
		w.making = nil

		held := get(t, o, "a")
		var all sync.WaitGroup
		all.Go(func() {
			_, err := o.Get(t.Context(), "b")
			assert.ErrorIs(t, err, session.ErrNotFound)
		})
		synctest.Wait()
		require.NoError(t, st.Delete(t.Context(), "b")) // which waits
		all.Wait()
		requireLeft(t, o, 1, 1)

		all.Go(func() { use(t, o, "c") })
		require.NoError(t, st.Delete(t.Context(), "a")) // which is in use
		synctest.Wait()
		require.EqualValues(t, 2, w.opens.Load())
		held.Release()
		all.Wait()
		require.Equal(t, []string{"a removed"}, w.ends())
		requireLeft(t, o, 1, 1)
	})
}

// TestClosingHoldsThePlace closes slowly: there are never more objects than allowed.
func TestClosingHoldsThePlace(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := New(st, w.open, func(th *thing, reason Reason) {
			time.Sleep(time.Minute)
			w.close(th, reason)
		}, WithMaxObjects(2))
		use(t, o, "a")
		use(t, o, "b")
		start := time.Now()
		use(t, o, "c")
		require.Equal(t, time.Minute, time.Since(start))
		require.Equal(t, []string{"a evicted"}, w.ends(), "one is enough")
		require.NoError(t, o.Close())
	})
}
