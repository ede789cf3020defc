package nearcache

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// linger is how long a worker of these tests waits for more entries: a 64th of RefreshAfter is more than a quarter of
// MaxStaleness.
const linger = staleness / 4

// dueAt is when entries become due that are bounded by their age: after half of MaxStaleness, less what they may wait.
const dueAt = staleness/2 - linger

// inRevalidatingBubble runs a test with n values, stored at the same time, in a cache that has room for them.
func inRevalidatingBubble(
	t *testing.T, n int, test func(t *testing.T, src *source, c *replica), settings ...setting,
) {
	t.Helper()
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.Equal(t, linger, c.refresh.linger)
		c.storeAll(t, n)
		test(t, src, c)
	}, append([]setting{watched, revalidating, maxEntries(n)}, settings...)...)
}

func TestDueEntriesAreRevalidatedTogether(t *testing.T) {
	const n = 2*maxBatch + 10
	const moment = time.Nanosecond
	inRevalidatingBubble(t, n, func(t *testing.T, src *source, c *replica) {
		before := c.Hit(numbered(3))
		for range 10 { // for which nothing but revalidations keep them
			time.Sleep(dueAt)
			c.hitAll(t, n)
			time.Sleep(linger - moment)
			require.Empty(t, src.takeBatches(), "others may join")
			require.Zero(t, c.workers())
			time.Sleep(moment)
			synctest.Wait()
			batches := src.takeBatches()
			slices.Sort(batches) // they are sent at the same time
			require.Equal(t, []int{10, maxBatch, maxBatch}, batches)
		}
		require.EqualValues(t, 10*n, c.Stats().Refreshes)
		require.Zero(t, src.loadCount())
		require.Same(t, before, c.Hit(numbered(3)))
	})
}

func TestRevalidationKeepsValuesAlive(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		time.Sleep(staleness) // the entries of before are not leased
		for i := range 2 {
			c.getID(t, numbered(i))
		}
		fetched := time.Now()
		const pause = time.Millisecond
		for len(src.takeBatches()) == 0 {
			c.hitAll(t, 2)
			time.Sleep(pause)
		}
		require.LessOrEqual(t, time.Since(fetched), freshness+2*pause)
		require.Greater(t, time.Since(fetched), freshness-2*linger)
		for range 1000 { // 100 minutes
			time.Sleep(6 * time.Second)
			c.hitAll(t, 2)
		}
		require.EqualValues(t, 2, c.Stats().Misses)
	})
}

func TestRevalidationFindsChanges(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, src *source, c *replica) {
		src.put(numbered(1), "new")
		src.drop(numbered(2))
		time.Sleep(dueAt)
		c.hitAll(t, 4)
		time.Sleep(linger)
		synctest.Wait()
		require.Equal(t, []int{4}, src.takeBatches())
		require.Nil(t, c.Hit(numbered(1)), "a copy that is known to be old is dropped")
		require.Equal(t, "old", c.getID(t, numbered(0)))
		require.Equal(t, "new", c.getID(t, numbered(1)))
		require.Equal(t, "old", c.getID(t, numbered(3)))
		require.ErrorIs(t, c.load(t.Context(), numbered(2)).err, errAbsent)
	})
}

// heldRevalidation begins a revalidation of all n entries, and stops its answer.
func heldRevalidation(t *testing.T, src *source, c *replica, n int) (release func()) {
	t.Helper()
	release = src.hold("unchanged", "reply")
	time.Sleep(dueAt)
	c.hitAll(t, n)
	time.Sleep(linger)
	synctest.Wait()
	require.Equal(t, []int{n}, src.takeBatches())
	return release
}

func TestRevalidationBringsNothingBack(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, src *source, c *replica) {
		release := heldRevalidation(t, src, c, 4)
		require.NoError(t, c.remove(t.Context(), numbered(0)))
		require.NoError(t, c.store(t.Context(), numbered(1), "new"))
		src.report(gap, changed(numbered(2), src.put(numbered(2), "new")))
		release()
		synctest.Wait()
		require.ErrorIs(t, c.load(t.Context(), numbered(0)).err, errAbsent)
		require.Equal(t, "new", c.getID(t, numbered(1)))
		require.Equal(t, "new", c.getID(t, numbered(2)))
		require.Equal(t, "old", c.getID(t, numbered(3)))
	})
}

func TestRevalidatedEntryIsAsOldAsTheQuestion(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		release := heldRevalidation(t, src, c, 2)
		src.put(numbered(0), "new")
		time.Sleep(staleness / 4) // the answer travels
		release()
		synctest.Wait()
		time.Sleep(staleness * 3 / 4)
		require.Equal(t, "new", c.getID(t, numbered(0)))
	})
}

func TestRevalidatedEntryKeepsTheQuestionsEpoch(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now()))
		release := heldRevalidation(t, src, c, 2)
		src.put(numbered(0), "new")
		src.report(brokenOff) // and the event is lost
		time.Sleep(staleness / 4)
		defer src.flow(c)()
		release()
		synctest.Wait()
		time.Sleep(staleness * 3 / 4)
		require.True(t, c.Stats().Leased)
		require.Equal(t, "new", c.getID(t, numbered(0)))
	})
}

func TestRevalidatedEntryIsNotCurrentAnyMore(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		handedOut := c.Hit(numbered(0))
		want := handedOut.revision.Load()
		release := heldRevalidation(t, src, c, 2)
		handedOut.revision.Store(want + 1)
		release()
		synctest.Wait()
		require.Nil(t, c.Hit(numbered(0)))
		got, err := c.Fetch(t.Context(), numbered(0))
		require.NoError(t, err)
		require.Equal(t, want, got.revision.Load())
	})
}

func TestUsesThatFailTogetherAreToldSingly(t *testing.T) {
	for _, way := range []string{"request", "reply"} {
		t.Run(way, func(t *testing.T) {
			inRevalidatingBubble(t, 5, func(t *testing.T, src *source, c *replica) {
				src.fail("unchanged", way, errLink, 1)
				time.Sleep(dueAt)
				c.hitAll(t, 5)
				time.Sleep(linger)
				synctest.Wait()
				require.Equal(t, []int{5, 1, 1, 1, 1, 1}, src.takeBatches())
				time.Sleep(dueAt)
				c.hitAll(t, 5)
				time.Sleep(linger)
				synctest.Wait()
				require.Equal(t, []int{5}, src.takeBatches(), "the next time they are told together again")
				require.Zero(t, src.loadCount())
			})
		})
	}
}

func TestUsesAreToldByLoadsIfNotOtherwise(t *testing.T) {
	inRevalidatingBubble(t, 5, func(t *testing.T, src *source, c *replica) {
		src.fail("unchanged", "request", errors.ErrUnsupported, 1)
		for i := range 2 {
			time.Sleep(staleness / 2)
			c.hitAll(t, 5)
			time.Sleep(linger)
			synctest.Wait()
			require.Equal(t, 5*(i+1), src.loadCount())
		}
		require.Equal(t, []int{5}, src.takeBatches(), "it is not asked again")
	})
}

func TestAnswerOfTheWrongLengthIsNoAnswer(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		time.Sleep(dueAt)
		c.hitAll(t, 2)
		time.Sleep(linger)
		synctest.Wait()
		require.Zero(t, c.Stats().Refreshes)
		require.Equal(t, 2, c.refresh.pending.len())
	}, func(_ *source, config *Config[state]) {
		config.Unchanged = func(_ context.Context, uses []Use) ([]bool, error) { return make([]bool, len(uses)+1), nil }
	})
}

func TestUnansweredRevalidationIsGivenUp(t *testing.T) {
	const patience = 50 * time.Millisecond
	inRevalidatingBubble(t, 5, func(t *testing.T, src *source, c *replica) {
		src.hold("unchanged", "request") // until the end of the test, and ignores its context
		time.Sleep(dueAt)
		c.hitAll(t, 5)
		time.Sleep(linger + patience)
		synctest.Wait()
		require.Equal(t, 5, src.takeBatches()[0])
		time.Sleep(staleness / 4) // the source is asked again when a probe is due
		c.hitAll(t, 5)
		require.EqualValues(t, 5, c.Stats().Refreshes)
	}, loadTimeout(patience))
}

func TestOneUseDoesNotDelayTheRestOfItsBatch(t *testing.T) {
	inRevalidatingBubble(t, 5, func(t *testing.T, src *source, c *replica) {
		src.fail("unchanged", "request", errLink, 1)
		src.hold("unchanged", "request")
		time.Sleep(dueAt)
		c.hitAll(t, 5)
		time.Sleep(linger)
		synctest.Wait()
		require.Len(t, src.takeBatches(), 1+5)
		require.Equal(t, 1, c.workers())
		require.EqualValues(t, 4, c.Stats().Refreshes)
	})
}

func TestRevalidationsAreBounded(t *testing.T) {
	const n = 10 * maxBatch
	inRevalidatingBubble(t, n, func(t *testing.T, src *source, c *replica) {
		var releases []func()
		for range 3 {
			releases = append(releases, src.hold("unchanged", "request"))
		}
		time.Sleep(dueAt)
		c.hitAll(t, n)
		time.Sleep(linger)
		synctest.Wait()
		require.Len(t, src.takeBatches(), 3)
		for _, release := range releases {
			release()
		}
		synctest.Wait()
		require.Len(t, src.takeBatches(), 7)
		require.Equal(t, 3, src.mostAsk)
		require.EqualValues(t, n, c.Stats().Refreshes)
	}, refreshConcurrency(3))
}

func TestWorkerLeavesUsesThatLinger(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, src *source, c *replica) {
		release := heldRevalidation(t, src, c, 2)
		c.hitAll(t, 4) // two more are due
		time.Sleep(linger / 2)
		release()
		synctest.Wait()
		require.Empty(t, src.takeBatches())
		time.Sleep(linger / 2)
		synctest.Wait()
		require.Equal(t, []int{2}, src.takeBatches())
	})
}

func TestRevalidationEndsAnOutage(t *testing.T) {
	inRevalidatingBubble(t, 3, func(t *testing.T, src *source, c *replica) {
		time.Sleep(staleness)
		src.fail("load", "request", errLink, 1)
		require.Equal(t, "old", c.getID(t, numbered(0)))
		require.True(t, c.Stats().ServingStale)
		time.Sleep(linger)
		synctest.Wait()
		require.Equal(t, []int{1}, src.takeBatches())
		require.False(t, c.Stats().ServingStale)
	}, staleIfError(time.Minute))
}

func TestCloseDoesNotWaitForTheLinger(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, src *source, c *replica) {
		time.Sleep(dueAt)
		c.hitAll(t, 2)
		synctest.Wait()
		start := time.Now()
		c.Close()
		require.Zero(t, time.Since(start))
		require.Empty(t, src.takeBatches())
		require.Zero(t, src.loadCount())
	})
}
