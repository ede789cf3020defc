package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDueValuesThatWaitDoNotExpire(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		const values = 3
		c.storeAll(t, values)
		for range 4 { // loaded together every 8 of 10 minutes, with a single refresh at a time
			time.Sleep(8 * time.Minute)
			release := src.hold("load", "request")
			for i := range values {
				c.getID(t, numbered(i))
			}
			synctest.Wait()
			release()
		}
	}, watched, refreshConcurrency(1))
}

func TestRefreshesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.storeAll(t, 10)
		var releases []func()
		for range 10 {
			releases = append(releases, src.hold("load", "request"))
		}
		time.Sleep(staleness / 2)
		for range 2 {
			c.hitAll(t, 10)
			synctest.Wait()
			require.Equal(t, 3, src.loadCount())
			require.Equal(t, 3, c.workers())
		}
		for _, release := range releases {
			release()
		}
		synctest.Wait()
		require.Equal(t, 10, src.loadCount())
		require.Zero(t, c.workers())
	}, refreshConcurrency(3))
}

func TestFailedRefreshIsRepeatedWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		src.fail("load", "request", errLink, 1000)
		time.Sleep(staleness / 2)
		for range 1000 {
			require.NotNil(t, c.Hit(testID))
			time.Sleep(staleness / 2000)
		}
		// 50 ms, 100 ms, 200 ms, ... with jitter of half, within the second that is left.
		require.GreaterOrEqual(t, src.loadCount(), 3)
		require.LessOrEqual(t, src.loadCount(), 8)
	})
}

func TestFailedRefreshIsRepeatedWithoutAnotherHit(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		for range 4 {
			time.Sleep(8 * time.Minute)
			src.fail("load", "request", errLink, 1)
			c.get(t)
		}
	}, watched)
}

func TestRefreshEndsWithItsEntry(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		src.fail("load", "request", errLink, 10_000)
		time.Sleep(staleness / 2)
		c.get(t)
		time.Sleep(11 * time.Minute)
		before := src.loadCount()
		require.Greater(t, before, 100)
		time.Sleep(time.Hour)
		require.Equal(t, before, src.loadCount(), "an expired entry is not renewed")
		require.Zero(t, c.workers())
	})
}

func TestCloseBeginsNoRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.storeAll(t, 100)
		release := src.hold("load", "request")
		time.Sleep(staleness / 2)
		c.hitAll(t, 100) // one is refreshed, the others wait for it
		synctest.Wait()
		closed := later(func() error { c.Close(); return nil })
		synctest.Wait()
		release()
		require.NoError(t, <-closed)
		require.Equal(t, 1, src.loadCount())
	}, refreshConcurrency(1))
}

func TestRenewingIsNotUsing(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), numbered(0), "v"))
		time.Sleep(staleness / 4)
		require.NoError(t, c.store(t.Context(), numbered(1), "v"))
		time.Sleep(staleness / 4)
		release := src.hold("load", "reply")
		require.NotNil(t, c.Hit(numbered(0))) // which is due
		time.Sleep(time.Millisecond)
		require.NotNil(t, c.Hit(numbered(1)))
		time.Sleep(time.Millisecond)
		release()
		synctest.Wait()
		require.EqualValues(t, 1, c.Stats().Refreshes)
		require.NoError(t, c.store(t.Context(), numbered(2), "v"))
		require.Nil(t, c.table.find(numbered(0)), "the least recently used")
		require.NotNil(t, c.table.find(numbered(1)))
	}, maxEntries(2))
}
