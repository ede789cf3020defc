package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStaleIfErrorCountsFromTheEndOfTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now()))
		require.NoError(t, c.store(t.Context(), testID, "old"))
		time.Sleep(staleness / 2)
		src.report(alive(time.Now()))
		src.fail("load", "request", errLink, 1000)
		time.Sleep(staleness + time.Minute - 1)
		require.Equal(t, "old", c.get(t))
		time.Sleep(time.Nanosecond)
		require.ErrorIs(t, c.err(t), errLink)
	}, watched, staleIfError(time.Minute))
}

func TestStaleIfErrorIsNotForAnOldFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.fail("load", "request", errLink, 1)
		time.Sleep(staleness)
		require.Equal(t, "old", c.get(t))
		src.drop(testID)
		time.Sleep(staleness)
		require.ErrorIs(t, c.err(t), errAbsent, "the source is asked again")
	}, staleIfError(10*time.Minute))
}

func TestStaleAnswersEndSoonAfterTheOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.fail("load", "request", errLink, 10_000)
		for range 300 {
			time.Sleep(time.Second)
			require.Equal(t, "old", c.get(t))
		}
		src.recover()
		src.put(testID, "new")
		over := time.Now()
		for c.get(t) == "old" {
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(over), staleness)
	}, staleIfError(time.Hour))
}

func TestAbsenceEndsAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness)
		src.fail("load", "request", errLink, 1)
		c.get(t)
		require.True(t, c.Stats().ServingStale)
		require.NoError(t, c.remove(t.Context(), testID))
		require.ErrorIs(t, c.err(t), errAbsent)
		require.False(t, c.Stats().ServingStale)
	}, staleIfError(time.Minute))
}

// TestEndOfTheCallersContextIsNoOutage: a caller that gives up learns nothing about the source.
func TestEndOfTheCallersContextIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "old"))
		time.Sleep(staleness)
		release := src.hold("load", "request")

		ctx, cancel := context.WithCancel(t.Context())
		cancelled := c.loadLater(ctx)
		ctx, cancelLate := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancelLate()
		late := c.loadLater(ctx)
		synctest.Wait()
		cancel()
		require.Equal(t, outcome{err: context.Canceled}, <-cancelled)
		require.Equal(t, outcome{err: context.DeadlineExceeded}, <-late)
		require.Zero(t, c.Stats().Stale)
		require.False(t, c.Stats().ServingStale)

		release()
		release = src.hold("load", "request")
		require.Equal(t, "old", c.get(t), "when the source does not answer, the stale copy is served")
		require.EqualValues(t, 1, c.Stats().Stale)
		release()
	}, staleIfError(time.Minute))
}
