package nearcache

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHitsDuringChanges: readers without a lock run into all that writers do. Each finds the value that it asked for,
// or none.
func TestHitsDuringChanges(t *testing.T) {
	t.Parallel()
	const entries, ids = 4, 8
	c := newReplica(newSource(), maxEntries(entries))
	defer c.Close()
	var stop atomic.Bool
	var readers, writers []<-chan error
	for range 2 {
		readers = append(readers, later(func() error {
			for i := 0; !stop.Load(); i++ {
				id := numbered(i % ids)
				if v := c.load(t.Context(), id); v.err == nil && v.v != id {
					return errors.New("wrong value")
				}
			}
			return nil
		}))
		writers = append(writers, later(func() error {
			for i := range 5000 {
				if err := c.store(t.Context(), numbered(i%ids), numbered(i%ids)); err != nil {
					return err
				}
				if err := c.remove(t.Context(), numbered(i%3)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, done := range writers {
		require.NoError(t, <-done)
	}
	stop.Store(true)
	for _, done := range readers {
		require.NoError(t, <-done)
	}
	require.LessOrEqual(t, c.Stats().Entries, entries)
}

func TestCloseEndsFlights(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.holdUntilDone("load", "request")
		loaded := c.loadLater(t.Context())
		synctest.Wait()
		start := time.Now()
		c.Close()
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, (<-loaded).err, ErrClosed)
	}, loadTimeout(time.Hour))
}

func TestNothingIsServedAfterClose(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		w, err := c.Begin("another")
		require.NoError(t, err)
		require.False(t, c.Closed())
		c.Close()
		c.Close()
		require.True(t, c.Closed())
		w.Acknowledged(newState("another", "v", 7), 7) // the source has it
		require.Nil(t, c.Hit(testID))
		require.Zero(t, c.Stats().Entries)

		_, err = c.Begin(testID)
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.Fetch(context.Background(), testID)
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, src.loadCount())
	})
}

func TestAgeMakesCopiesOlder(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.put(testID, "new")
		c.Age(staleness - 1)
		require.Equal(t, "old", c.get(t))
		c.Age(staleness - 1) // waits for the refresh that the hit has queued
		require.Equal(t, "new", c.get(t))
		require.Zero(t, c.Stats().Misses)
		src.put(testID, "newer")
		c.Age(staleness)
		src.put(testID, "newest")
		c.Age(staleness)
		require.Equal(t, "newest", c.get(t))
		require.EqualValues(t, 1, c.Stats().Refused)
	})
}
