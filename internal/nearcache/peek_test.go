package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeekMakesNoRoomForItsCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		for _, id := range []string{"a", "b"} {
			require.NoError(t, c.store(t.Context(), id, "v"))
			time.Sleep(time.Millisecond)
		}
		require.Equal(t, "v", c.Peek("a").v)
		time.Sleep(time.Millisecond)
		require.NoError(t, c.store(t.Context(), "c", "v"))
		require.Nil(t, c.Peek("a"), "it was the least recently used")
		require.NotNil(t, c.Peek("b"))
		require.Zero(t, c.Stats().Hits)
	}, watched, maxEntries(2))
}

func TestPeekIsNoUse(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		for range 9 {
			time.Sleep(freshness)
			require.NotNil(t, c.Peek(testID))
		}
		time.Sleep(linger)
		synctest.Wait()
		require.Empty(t, src.takeBatches())
		require.Zero(t, src.loadCount())
		require.Equal(t, 9*freshness+linger, src.idleFor(testID))
		time.Sleep(ttl - 9*freshness - linger)
		require.Nil(t, c.Peek(testID), "the source may have forgotten it")
	}, watched, revalidating)
}

// TestPeekNeedsTheLease: that a copy is young is not enough.
func TestPeekNeedsTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), "early", "v"))
		src.report(gap)
		require.NoError(t, c.store(t.Context(), "unproven", "v"))
		src.report(alive(time.Now()))
		require.NoError(t, c.store(t.Context(), "late", "v"))
		for _, id := range []string{"early", "unproven"} {
			require.Nil(t, c.Peek(id), id)
			require.NotNil(t, c.Hit(id), id)
		}
		time.Sleep(staleness - 1)
		require.NotNil(t, c.Peek("late"))
		time.Sleep(time.Nanosecond)
		require.Nil(t, c.Peek("late"), "the lease has ended")

		src.report(alive(time.Now()))
		require.NotNil(t, c.Peek("late"))
		src.report(gap)
		require.Nil(t, c.Peek("late"), "reports may be missing")
		src.report(alive(time.Now()))
		require.Nil(t, c.Peek("late"), "of an earlier epoch")
		require.Zero(t, src.loadCount())
	}, watched, staleIfError(time.Hour))
}
