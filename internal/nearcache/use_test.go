package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Every answer counts as a use of its value, and nothing else does. The tests here take the ways on which a use could
// get lost, or be made up.

// idleFor returns how long ago the source knows the value to have been used.
func (s *source) idleFor(id string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.states[id].usedAt)
}

func TestUseIsToldAfterItsCopyMadeRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		for range 10 {
			time.Sleep(70 * time.Second)
			c.get(t)                                               // due
			require.NoError(t, c.store(t.Context(), "other", "v")) // takes its place before the source was told
			time.Sleep(ttl - freshness - time.Second)
			c.get(t)
		}
	}, watched, revalidating, maxEntries(1))
}

func TestUseIsToldAfterARefusedWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(freshness)
		c.get(t)
		src.fail("store", "request", errLink, 1)
		require.ErrorIs(t, c.store(t.Context(), testID, "v"), errLink)
		time.Sleep(linger)
		synctest.Wait()
		require.LessOrEqual(t, src.idleFor(testID), linger)
	}, watched, revalidating)
}

func TestJoinedLoadIsAUse(t *testing.T) {
	const shortTTL = 4 * time.Second
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "reply")
		first := c.loadLater(t.Context())
		time.Sleep(staleness - time.Millisecond)
		joined := c.loadLater(t.Context()) // the source was asked long before
		synctest.Wait()
		release()
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-joined).err)
		time.Sleep(100 * time.Millisecond)
		require.LessOrEqual(t, src.idleFor(testID), 100*time.Millisecond)
	}, revalidating, sourceTTL(shortTTL), refreshAfter(shortTTL/4), loadTimeout(time.Minute))
}

func TestSecondLookIsAUse(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(freshness)
		_, err := c.Fetch(t.Context(), testID) // by a load that had not found the copy yet
		require.NoError(t, err)
		time.Sleep(linger)
		synctest.Wait()
		require.LessOrEqual(t, src.idleFor(testID), linger)
		require.Zero(t, src.loadCount())
	}, watched, revalidating)
}

func TestHitsWhileAUseLingersAreTold(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(t *testing.T, c *replica){
		"the copy is dropped": func(_ *testing.T, c *replica) { c.dropAll() },
		"the copy makes room": func(t *testing.T, c *replica) {
			t.Helper()
			require.NoError(t, c.store(t.Context(), "other", "v"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				require.NoError(t, c.store(t.Context(), testID, "v"))
				time.Sleep(freshness)
				c.get(t)
				time.Sleep(linger - time.Millisecond)
				c.get(t)
				leave(t, c)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				require.LessOrEqual(t, src.idleFor(testID), time.Millisecond)
			}, watched, revalidating, maxEntries(1))
		})
	}
}

func (c *replica) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.table.entriesLocked() {
		c.dropLocked(e.id)
	}
}

// TestIdleValueDiesInSpiteOfAnOutage: the use is told nine minutes late, which leaves the value one of its ten minutes.
func TestIdleValueDiesInSpiteOfAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness / 2)
		c.get(t)
		used := time.Now()
		src.fail("unchanged", "request", errLink, 10_000)
		time.Sleep(9 * time.Minute)
		src.recover()
		time.Sleep(staleness)
		synctest.Wait()
		require.Equal(t, time.Since(used), src.idleFor(testID))
		time.Sleep(ttl - time.Since(used))
		require.ErrorIs(t, c.err(t), errAbsent)
	}, revalidating)
}

// TestDeadValuesDoNotStarveOthers: the source answers for all values but a few, as a Cluster does that lost some slots.
func TestDeadValuesDoNotStarveOthers(t *testing.T) {
	t.Parallel()
	for name, can := range map[string][]setting{"many at a time": {revalidating}, "one by one": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				const dead = 40
				c.storeAll(t, dead)
				require.NoError(t, c.store(t.Context(), testID, "v"))
				for i := range dead {
					src.die(numbered(i))
				}
				for range 4 * int(ttl/time.Second) {
					for i := range dead {
						_ = c.Hit(numbered(i))
					}
					c.get(t)
					time.Sleep(time.Second)
				}
				require.Zero(t, c.Stats().Misses)
			}, append(can, watched, refreshConcurrency(4))...)
		})
	}
}

func TestUsesThatWaitAreBounded(t *testing.T) {
	const tier = 10
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.fail("load", "request", errLink, 100_000)
		for i := range 200 {
			require.NoError(t, c.store(t.Context(), numbered(i), "v"))
			time.Sleep(staleness / 2)
			require.NotNil(t, c.Hit(numbered(i)))
			c.mu.Lock()
			require.LessOrEqual(t, c.refresh.pending.len(), tier)
			c.mu.Unlock()
		}
		require.NotZero(t, c.Stats().DroppedUses)
		time.Sleep(2 * ttl)
		synctest.Wait()
		require.Zero(t, c.refresh.pending.len())
		require.Zero(t, c.workers())
	}, maxEntries(tier))
}

// TestCopyBecomesDueAgain: a wall clock that jumped past the value's end and back ends the record of its use.
func TestCopyBecomesDueAgain(t *testing.T) {
	over := false
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(freshness)
		over = true
		c.get(t)
		time.Sleep(linger)
		synctest.Wait()
		over = false
		c.get(t)
		time.Sleep(linger)
		synctest.Wait()
		require.LessOrEqual(t, src.idleFor(testID), linger)
	}, watched, revalidating, func(_ *source, config *Config[state]) {
		config.ExpiresAt = func(*state) time.Time {
			if over {
				return time.Now()
			}
			return time.Time{}
		}
	})
}

func TestWatcherThatHidesWritesIsNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		for range maxMissed {
			src.report(gap)
			time.Sleep(time.Millisecond)
			require.NoError(t, c.store(t.Context(), testID, "v"))
			time.Sleep(time.Millisecond)
			src.report(alive(time.Now()))
			require.False(t, c.Stats().Leased, "the write was not reported")
			time.Sleep(maxWatchPause)
		}
		synctest.Wait()
		select {
		case src.events <- gap:
			t.Error("it is still watched")
		case <-time.After(time.Hour):
		}
	}, watched)
}

func TestWatcherThatReportsWritesIsBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		held := src.hold("store", "reply")
		early := c.storeLater(t.Context(), "v") // sent before the reports begin
		synctest.Wait()
		time.Sleep(time.Millisecond)
		src.report(gap)
		held()
		require.NoError(t, <-early)

		time.Sleep(time.Millisecond)
		held = src.hold("store", "reply")
		overtaken := c.storeLater(t.Context(), "v")
		synctest.Wait()
		src.report(changed(testID, src.revisionOf(testID))) // before the acknowledgement
		held()
		require.NoError(t, <-overtaken)
		time.Sleep(time.Millisecond)
		src.report(alive(time.Now()))
		require.True(t, c.Stats().Leased)
		for i := range 10 {
			time.Sleep(time.Millisecond)
			require.NoError(t, c.store(t.Context(), numbered(i), "v"))
			require.NoError(t, c.store(t.Context(), testID, "v"))
			src.report(changed(numbered(i), src.revisionOf(numbered(i))), changed(testID, src.revisionOf(testID)))
			time.Sleep(time.Millisecond)
			src.report(alive(time.Now()))
			require.True(t, c.Stats().Leased)
		}
	}, watched)
}
