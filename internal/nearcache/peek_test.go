package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeekMakesNoRoomForItsCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *source, c *replica) {
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
	}, maxEntries(2))
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

func TestPeekGoesByTheServingRule(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness - 1)
		require.NotNil(t, c.Peek(testID))
		time.Sleep(time.Nanosecond)
		require.Nil(t, c.Peek(testID))
		require.Zero(t, src.loadCount())
	}, staleIfError(time.Hour))
}
