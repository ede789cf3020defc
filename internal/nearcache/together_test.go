package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// inTogetherBubble runs a test with n copies that are not fresh any more, of which a load for each asks at once. The
// first is loaded; the others wait for its place.
func inTogetherBubble(t *testing.T, n int, test func(t *testing.T, src *source, c *replica)) {
	t.Helper()
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.storeAll(t, n)
		time.Sleep(staleness)
		test(t, src, c)
	}, revalidating, maxEntries(n), loadConcurrency(1))
}

// loadTogether begins a load of each of n values. One is sent first, and the others wait until it has been answered.
func (c *replica) loadTogether(ctx context.Context, n int) []<-chan outcome {
	release := c.source.hold("load", "request")
	loads := c.loadsLater(ctx, n)
	synctest.Wait()
	release()
	return loads
}

func requireAll(t *testing.T, loads []<-chan outcome, want func(i int) outcome) {
	t.Helper()
	for i, load := range loads {
		require.Equal(t, want(i), <-load, numbered(i))
	}
}

func TestLoadsThatWaitShareACall(t *testing.T) {
	const n = 2*maxBatch + 1
	inTogetherBubble(t, n, func(t *testing.T, src *source, c *replica) {
		src.put(numbered(7), "new")
		src.drop(numbered(8)) // if one of them is the first, that makes no difference
		requireAll(t, c.loadTogether(t.Context(), n), func(i int) outcome {
			switch i {
			case 7:
				return outcome{v: "new"}
			case 8:
				return outcome{err: errAbsent}
			}
			return outcome{v: "old"}
		})
		require.Equal(t, []int{maxBatch, maxBatch}, src.takeBatches())
		require.LessOrEqual(t, src.loadCount(), 3, "the first one, and the two that have changed")
		c.hitAll(t, 7) // they are fresh again
		require.LessOrEqual(t, src.idleFor(numbered(0)), time.Duration(0), "and used")
	})
}

func TestSharedCallThatFailsIsMadeUpByLoads(t *testing.T) {
	for _, way := range []string{"request", "reply"} {
		t.Run(way, func(t *testing.T) {
			inTogetherBubble(t, 10, func(t *testing.T, src *source, c *replica) {
				src.fail("unchanged", way, errLink, 1)
				requireAll(t, c.loadTogether(t.Context(), 10), func(int) outcome { return outcome{v: "old"} })
				require.Equal(t, []int{9}, src.takeBatches())
				require.Equal(t, 10, src.loadCount())
			})
		})
	}
}

func TestSharedCallBringsNothingBack(t *testing.T) {
	inTogetherBubble(t, 10, func(t *testing.T, src *source, c *replica) {
		release := src.hold("unchanged", "reply")
		loads := c.loadTogether(t.Context(), 10)
		synctest.Wait() // the answer has been read
		require.NoError(t, c.remove(t.Context(), numbered(3)))
		require.NoError(t, c.store(t.Context(), numbered(4), "new"))
		release()
		requireAll(t, loads, func(int) outcome { return outcome{v: "old"} })
		require.ErrorIs(t, c.load(t.Context(), numbered(3)).err, errAbsent)
		require.Equal(t, "new", c.getID(t, numbered(4)))
	})
}

func TestSharedCallIsAsOldAsItsQuestion(t *testing.T) {
	inTogetherBubble(t, 3, func(t *testing.T, src *source, c *replica) {
		release := src.hold("unchanged", "reply")
		loads := c.loadTogether(t.Context(), 3)
		synctest.Wait()
		src.put(numbered(1), "new")
		time.Sleep(staleness / 2)
		release()
		requireAll(t, loads, func(int) outcome { return outcome{v: "old"} })
		time.Sleep(staleness / 2)
		require.Equal(t, "new", c.getID(t, numbered(1)))
	})
}

func TestSharedCallWhoseCallersHaveLeft(t *testing.T) {
	inTogetherBubble(t, 10, func(t *testing.T, src *source, c *replica) {
		release := src.hold("unchanged", "reply")
		ctx, cancel := context.WithCancel(t.Context())
		loads := c.loadTogether(ctx, 10)
		synctest.Wait()
		cancel()
		left := 0
		for _, load := range loads {
			if (<-load).err != nil {
				left++
			}
		}
		require.Equal(t, 9, left)
		src.fail("unchanged", "reply", errLink, 1)
		release()
		synctest.Wait()
		require.Zero(t, c.calls.len())
		require.Zero(t, c.gate.waiting.Len())
		require.Zero(t, c.gate.sent)
	})
}
