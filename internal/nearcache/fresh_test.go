package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func (c *replica) fresh(ctx context.Context, id string) outcome {
	s, err := c.FetchFresh(ctx, id)
	if err != nil {
		return outcome{err: err}
	}
	return outcome{v: s.v}
}

func (c *replica) freshLater(ctx context.Context, id string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() { done <- c.fresh(ctx, id) }()
	return done
}

func TestFreshLoadRenewsTheCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.put(testID, "new") // the event has not arrived yet
		require.Equal(t, "old", c.get(t))
		require.Equal(t, outcome{v: "new"}, c.fresh(t.Context(), testID))
		require.Equal(t, "new", c.Hit(testID).v)
		require.Equal(t, 1, src.loadCount())

		src.drop(testID)
		require.Equal(t, "new", c.get(t))
		require.Equal(t, outcome{err: errAbsent}, c.fresh(t.Context(), testID))
		require.Nil(t, c.Hit(testID))
	}, watched)
}

// TestFreshLoadJoinsNoSentFlight: the answer to a load that was sent earlier may have been read before a change that
// the caller knows of. No time passes in between.
// TestFreshLoadsWithLeaseOnly: without a lease one flight is sent and one waits, as for other loads.
func TestFreshLoadsWithLeaseOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		first := c.loadLater(t.Context())
		synctest.Wait()
		src.put(testID, "new")
		var fresh []<-chan error
		for range 100 {
			fresh = append(fresh, later(func() error {
				s, err := c.FetchFresh(t.Context(), testID)
				if err == nil && s.v != "new" {
					return errAbsent
				}
				return err
			}))
		}
		synctest.Wait()
		require.Equal(t, 1, src.loadCount())
		release()
		<-first
		for _, err := range fresh {
			require.NoError(t, <-err)
		}
		require.Equal(t, 2, src.loadCount())
	}, leaseOnly)
}

func TestFreshLoadJoinsNoSentFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		synctest.Wait() // the source has read its answer
		src.put(testID, "new")

		require.Equal(t, outcome{v: "new"}, c.fresh(t.Context(), testID))
		require.Equal(t, 2, src.loadCount())
		release()
		require.Equal(t, outcome{v: "old"}, <-before)
		require.Equal(t, "new", c.Hit(testID).v, "the older answer did not replace the newer one")
	})
}

func TestFreshAnswerReplacesAnOlderOne(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		before := c.loadLater(t.Context())
		synctest.Wait()
		src.put(testID, "new")
		time.Sleep(time.Millisecond)
		releaseFresh := src.hold("load", "reply")
		fresh := c.freshLater(t.Context(), testID)
		synctest.Wait()
		release() // lands first
		require.Equal(t, outcome{v: "old"}, <-before)
		releaseFresh()
		require.Equal(t, outcome{v: "new"}, <-fresh)
		require.Equal(t, "new", c.Hit(testID).v)
	})
}

func TestFreshLoadsThatWaitShareAFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "request")
		var loads []<-chan outcome
		for range 100 { // one is sent, one waits for its turn and is joined by the others
			loads = append(loads, c.freshLater(t.Context(), testID))
		}
		synctest.Wait()
		ordinary := c.loadLater(t.Context())
		synctest.Wait()
		release()
		for _, load := range append(loads, ordinary) {
			require.Equal(t, outcome{v: "v"}, <-load)
		}
		require.Equal(t, 2, src.loadCount())
		require.Equal(t, 1, src.mostLoads)
	}, loadConcurrency(1))
}

func TestFreshLoadsAtATimeAreLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		var releases []func()
		var loads []<-chan outcome
		for i := range 10 {
			src.put(numbered(i), "v")
			releases = append(releases, src.hold("load", "request"))
			loads = append(loads, c.freshLater(t.Context(), numbered(i)))
		}
		for i := range loads {
			synctest.Wait()
			releases[i]()
		}
		for _, load := range loads {
			require.Equal(t, outcome{v: "v"}, <-load)
		}
		require.Equal(t, 3, src.mostLoads)
		require.EqualValues(t, 7, c.Stats().Queued)
	}, loadConcurrency(3))
}

// TestFreshLoadIsNoRevalidation: loads that wait for their turn, and have a copy, may share a revalidation. It does not
// notice a value that was edited past its revision.
func TestFreshLoadIsNoRevalidation(t *testing.T) {
	const n = 5
	inTogetherBubble(t, n, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "request")
		blocking := c.freshLater(t.Context(), "absent")
		synctest.Wait()
		loads := c.loadsLater(t.Context(), n)
		synctest.Wait()
		fresh := c.freshLater(t.Context(), numbered(2)) // joins one of them
		synctest.Wait()
		src.mu.Lock()
		for i := range n {
			src.states[numbered(i)].v = "edited"
		}
		src.mu.Unlock()
		release()
		require.Equal(t, outcome{v: "edited"}, <-fresh)
		require.ErrorIs(t, (<-blocking).err, errAbsent)
		requireAll(t, loads, func(i int) outcome {
			if i == 2 {
				return outcome{v: "edited"}
			}
			return outcome{v: "old"}
		})
		require.Equal(t, []int{n - 1}, src.takeBatches())
		require.Equal(t, 2, src.loadCount())
	})
}

func TestFreshLoadOvertakenByARemoval(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now()))
		src.put(testID, "old")
		release := src.hold("load", "reply")
		fresh := c.freshLater(t.Context(), testID)
		synctest.Wait()
		src.drop(testID)
		src.report(removed(testID))
		release()
		require.Equal(t, outcome{v: "old"}, <-fresh, "it began before")
		require.ErrorIs(t, c.err(t), errAbsent)
	}, watched)
}

func TestFreshLoadIsAUse(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		for range 5 {
			time.Sleep(ttl - 1)
			require.Equal(t, outcome{v: "v"}, c.fresh(t.Context(), testID))
			require.Zero(t, src.idleFor(testID))
			require.NotNil(t, c.Hit(testID))
		}
	}, watched)
}

func TestLateFreshAnswerIsAUse(t *testing.T) {
	const shortTTL = 4 * time.Second
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "reply")
		fresh := c.freshLater(t.Context(), testID)
		time.Sleep(shortTTL / 2) // the source was asked long before
		release()
		require.Equal(t, outcome{v: "v"}, <-fresh)
		time.Sleep(100 * time.Millisecond)
		require.LessOrEqual(t, src.idleFor(testID), 100*time.Millisecond)
	}, revalidating, sourceTTL(shortTTL), refreshAfter(shortTTL/4), loadTimeout(time.Minute))
}

func TestFreshLoadIsNeverStale(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "known"))
		src.fail("load", "request", errLink, 1)
		require.Equal(t, outcome{err: errLink}, c.fresh(t.Context(), testID))
		require.Equal(t, "known", c.Hit(testID).v, "an outage says nothing about the copy")

		time.Sleep(2 * staleness)
		src.fail("load", "request", errLink, 10)
		require.Equal(t, "known", c.get(t), "older state for a load")
		require.Equal(t, outcome{err: errLink}, c.fresh(t.Context(), testID))
	}, staleIfError(time.Hour))
}

func TestFreshLoadFailsFastInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		time.Sleep(time.Millisecond)
		src.hang()
		require.ErrorIs(t, c.fresh(t.Context(), testID).err, context.DeadlineExceeded)
		start := time.Now()
		require.ErrorIs(t, c.fresh(t.Context(), testID).err, ErrOutage)
		require.Zero(t, time.Since(start))
		require.EqualValues(t, 1, c.Stats().Rejected)

		src.recover()
		src.put(testID, "v")
		time.Sleep(probePause)
		require.Equal(t, outcome{v: "v"}, c.fresh(t.Context(), testID), "it is the probe")
		require.False(t, c.Stats().Outage)
	})
}

func TestFreshLoadThatEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release, releaseOther := src.hold("load", "request"), src.hold("load", "request")
		ctx, cancel := context.WithCancel(t.Context())
		left, waits := c.freshLater(ctx, testID), c.freshLater(t.Context(), testID)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-left).err, context.Canceled)
		closed := later(func() error { c.Close(); return nil })
		require.ErrorIs(t, (<-waits).err, ErrClosed)
		require.ErrorIs(t, c.fresh(t.Context(), testID).err, ErrClosed)
		release()
		releaseOther()
		require.NoError(t, <-closed)
	})
}
