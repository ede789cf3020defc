package nearcache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of flights and of writes play one interleaving each. Each fails when the line that defends against it is
// taken out.

func TestLoadAnswerFromBeforeDeleteIsNotCached(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		loaded := c.loadLater(t.Context())
		synctest.Wait() // the source has read its answer

		require.NoError(t, c.remove(t.Context(), testID))
		release()
		require.Equal(t, outcome{v: "old"}, <-loaded, "the load began before the removal, so it may see the value")
		require.ErrorIs(t, c.err(t), errAbsent)
		require.EqualValues(t, 1, c.Stats().DroppedFills)
	})
}

func TestLoadAfterDeleteJoinsNoOlderFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		synctest.Wait()

		require.NoError(t, c.remove(t.Context(), testID))
		require.ErrorIs(t, c.err(t), errAbsent)
		release()
		require.Equal(t, outcome{v: "old"}, <-before)
	})
}

func TestLoadAfterStoreJoinsNoOlderFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		synctest.Wait()

		require.NoError(t, c.store(t.Context(), testID, "new"))
		require.NoError(t, c.store(t.Context(), "another", "which evicts it"))
		require.Equal(t, "new", c.get(t))
		release()
		require.Equal(t, outcome{v: "old"}, <-before)
	}, maxEntries(1))
}

func TestOldFlightIsNotJoined(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		synctest.Wait()
		src.put(testID, "new")

		time.Sleep(staleness - 1)
		joined := c.loadLater(t.Context())
		synctest.Wait()
		require.Equal(t, 1, src.loadCount(), "within the bound the flight is shared")
		time.Sleep(time.Nanosecond)
		require.Equal(t, "new", c.get(t))

		release()
		require.Equal(t, outcome{v: "old"}, <-before)
		require.Equal(t, outcome{v: "old"}, <-joined)
		require.Equal(t, "new", c.get(t))
		require.Equal(t, 2, src.loadCount(), "the older answer did not replace the newer one")
	}, loadTimeout(time.Minute))
}

func TestFlightIsNotJoinedAfterTheTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "there")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		time.Sleep(time.Second)
		require.ErrorIs(t, c.err(t), errAbsent)
		release()
		require.Equal(t, outcome{v: "there"}, <-before)
	}, sourceTTL(time.Second)) // shorter than MaxStaleness
}

func TestFlightIsNotJoinedAfterLoadTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		src.hold("load", "reply")
		ctx, cancel := context.WithCancel(t.Context())
		before := c.loadLater(ctx)
		synctest.Wait()
		cancel() // no caller waits for the flight, so it is still there when its time is over
		require.ErrorIs(t, (<-before).err, context.Canceled)
		time.Sleep(time.Second)
		require.Equal(t, "v", c.get(t))
	}, loadTimeout(time.Second)) // shorter than MaxStaleness
}

// TestOlderFlightMayBringTheLaterState: the source may execute two calls in the other order than they were sent in.
func TestOlderFlightMayBringTheLaterState(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(src *source)
		want   outcome
	}{
		"changed": {func(src *source) { src.put(testID, "new") }, outcome{v: "new"}},
		"removed": {func(src *source) { src.drop(testID) }, outcome{err: errAbsent}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.put(testID, "old")
				release := src.hold("load", "request")
				first := c.loadLater(t.Context())
				time.Sleep(staleness) // now it is not joined any more
				require.Equal(t, "old", c.get(t))
				test.change(src)
				release()
				require.Equal(t, test.want, <-first)
				require.Equal(t, test.want, c.load(t.Context(), testID), "a state that was served is not followed by an older one")
			}, loadTimeout(time.Minute))
		})
	}
}

func TestAgeCountsFromBeforeTheCall(t *testing.T) {
	t.Parallel()
	for op, call := range map[string]func(ctx context.Context, c *replica) <-chan outcome{
		"load": func(ctx context.Context, c *replica) <-chan outcome {
			c.source.put(testID, "old")
			return c.loadLater(ctx)
		},
		"store": func(ctx context.Context, c *replica) <-chan outcome {
			done := make(chan outcome, 1)
			go func() { done <- outcome{"old", c.store(ctx, testID, "old")} }()
			return done
		},
	} {
		t.Run(op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				release := src.hold(op, "reply")
				done := call(t.Context(), c)
				synctest.Wait()
				src.put(testID, "new") // acknowledged after the answer was read, and before it arrived

				time.Sleep(staleness/2 - 1) // not due yet
				release()
				require.Equal(t, outcome{v: "old"}, <-done)
				require.Equal(t, "old", c.Hit(testID).v, "a hit within the bound")
				time.Sleep(staleness/2 + 1)
				require.Equal(t, "new", c.get(t))
			})
		})
	}
}

func TestEpochIsReadBeforeTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		src.put(testID, "old")
		release := src.hold("load", "reply")
		loaded := c.loadLater(t.Context())
		synctest.Wait()        // the answer has been read
		src.put(testID, "new") // the event is lost
		src.report(gap, alive(time.Now()))
		release()
		require.Equal(t, outcome{v: "old"}, <-loaded)
		time.Sleep(staleness)
		require.Equal(t, "new", c.get(t))
	}, watched, refreshAfter(time.Hour))
}

func TestFillIsJudgedByTheRevisionOfAChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		newer   uint64 // than what the flight brings
		dropped uint64
		loads   int // after another load
	}{
		"a change that it contains": {newer: 0, dropped: 0, loads: 1},
		"a change that it misses":   {newer: 1, dropped: 1, loads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.report(gap)
				revision := src.put(testID, "v")
				release := src.hold("load", "reply")
				loaded := c.loadLater(t.Context())
				synctest.Wait()
				src.report(changed(testID, revision+test.newer))
				release()
				require.NoError(t, (<-loaded).err)
				c.get(t)
				require.Equal(t, test.loads, src.loadCount())
				require.Equal(t, test.dropped, c.Stats().DroppedFills)
			}, watched)
		})
	}
}

func TestCancelledWaiterDoesNotEndTheFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "request")
		ctx, cancel := context.WithCancel(t.Context())
		first := c.loadLater(ctx)
		synctest.Wait()
		second := c.loadLater(t.Context())
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		release()
		require.Equal(t, outcome{v: "v"}, <-second)
		require.Equal(t, 1, src.loadCount())
	})
}

func TestConcurrentMissesShareOneFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "request")
		var loads []<-chan outcome
		for range 100 {
			loads = append(loads, c.loadLater(t.Context()))
		}
		synctest.Wait()
		release()
		for _, loaded := range loads {
			require.Equal(t, outcome{v: "v"}, <-loaded)
		}
		require.Equal(t, 1, src.loadCount())
	})
}

// TestFetchLooksAgain: a flight may have landed after the load looked without the lock.
func TestFetchLooksAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		s, err := c.Fetch(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, "v", s.v)
		require.Zero(t, src.loadCount())
		require.EqualValues(t, 1, c.Stats().Hits)
	})
}

func TestSourceThatDoesNotAnswer(t *testing.T) {
	const patience = 300 * time.Millisecond
	t.Parallel()
	for name, hold := range map[string]func(src *source){
		"and ignores its context":   func(src *source) { src.hold("load", "reply") },
		"and ends with its context": func(src *source) { src.holdUntilDone("load", "reply") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.put(testID, "v")
				hold(src)
				start := time.Now()
				require.ErrorIs(t, c.err(t), context.DeadlineExceeded)
				require.Equal(t, patience, time.Since(start))
				require.Equal(t, "v", c.get(t), "the next load does not wait for it")
			}, loadTimeout(patience))
		})
	}
}

func TestNothingIsLeftOfCallsThatHaveEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *source, c *replica) {
		for i := range 1000 {
			id := numbered(i)
			require.ErrorIs(t, c.load(t.Context(), id).err, errAbsent)
			require.NoError(t, c.store(t.Context(), id, "v"))
			require.NoError(t, c.remove(t.Context(), id))
		}
		require.Zero(t, c.Stats().Entries)
		require.Zero(t, c.calls.len())
		require.Zero(t, c.flights.len())
	})
}

func TestErrorOfTheSourceIsPassedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		mine := errors.New("mine")
		src.fail("load", "request", mine, 1)
		require.Equal(t, mine, c.err(t))
	})
}
