package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Values with an idle lifetime of their own. Each test fails when the source's TTL is taken instead.

const none = -1 // no idle lifetime

func TestCopyLivesForItsOwnIdleTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		idle, served, gone time.Duration
	}{
		"shorter":      {idle: ttl / 10, served: ttl/10 - 1, gone: ttl / 10},
		"longer":       {idle: 3 * ttl, served: 3*ttl - 1, gone: 3 * ttl},
		"none":         {idle: none, served: 1000 * ttl},
		"the source's": {idle: 0, served: ttl - 1, gone: ttl},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.putIdle(testID, "v", test.idle)
				src.report(gap)
				src.report(alive(time.Now()))
				c.get(t)
				loaded := time.Now()
				for _, at := range []struct {
					age    time.Duration
					served bool
				}{{test.served, true}, {test.gone, false}} {
					if at.age == 0 {
						continue
					}
					time.Sleep(time.Until(loaded.Add(at.age)))
					src.report(alive(time.Now()))
					require.Equal(t, at.served, c.Peek(testID) != nil, "after %v", at.age)
				}
			}, watched)
		})
	}
}

// TestShortLivedValueIsRenewedInTime: a copy becomes due with a quarter of its own idle lifetime, not of the TTL.
func TestShortLivedValueIsRenewedInTime(t *testing.T) {
	t.Parallel()
	for name, can := range map[string][]setting{"many at a time": {revalidating}, "one by one": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				const idle = 8 * time.Second // much less than RefreshAfter
				src.putIdle(testID, "v", idle)
				c.get(t)
				for range 100 {
					time.Sleep(idle*3/4 - time.Millisecond)
					require.Equal(t, "v", c.get(t))
				}
				require.EqualValues(t, 1, c.Stats().Misses)
				time.Sleep(idle + linger)
				require.ErrorIs(t, c.err(t), errAbsent, "it was not used")
			}, append(can, watched)...)
		})
	}
}

func TestShortLivedUseWaitsLessForOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		const idle = 256 * time.Millisecond // whose quarter has a 64th of 1 ms
		src.putIdle(testID, "v", idle)
		c.get(t)
		time.Sleep(idle / 4)
		c.get(t)
		time.Sleep(time.Millisecond - 1)
		synctest.Wait()
		require.Empty(t, src.takeBatches())
		release := src.hold("unchanged", "reply")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, []int{1}, src.takeBatches())
		c.get(t) // while the source is told of the use before
		c.dropAll()
		release()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, []int{1}, src.takeBatches())
	}, watched, revalidating)
}

// TestJoinedLoadOfAShortLivedValueIsAUse: there is no copy, as an owner's values were revoked meanwhile, not this one.
func TestJoinedLoadOfAShortLivedValueIsAUse(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		const idle = 2 * staleness
		src.putIdle(testID, "v", idle)
		release := src.hold("load", "reply")
		first := c.loadLater(t.Context())
		time.Sleep(staleness - time.Millisecond)
		joined := c.loadLater(t.Context())
		synctest.Wait()
		c.Forgotten(func(*state) bool { return false })
		release()
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-joined).err)
		time.Sleep(linger)
		synctest.Wait()
		require.LessOrEqual(t, src.idleFor(testID), linger)
	}, revalidating, loadTimeout(time.Minute))
}

// TestLongLivedUseIsToldLate: the outage takes longer than the TTL, which says nothing about these values.
func TestLongLivedUseIsToldLate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		idle time.Duration
		told bool
	}{
		"longer":       {idle: 10 * ttl, told: true},
		"none":         {idle: none, told: true},
		"the source's": {idle: 0, told: false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.putIdle(testID, "v", test.idle)
				c.get(t)
				time.Sleep(staleness / 2)
				c.get(t)
				used := time.Now()
				src.fail("unchanged", "request", errLink, 10_000)
				time.Sleep(2 * ttl)
				src.recover()
				time.Sleep(staleness)
				synctest.Wait()
				require.Equal(t, test.told, src.idleFor(testID) == time.Since(used))
				require.Zero(t, c.refresh.pending.len())
			}, revalidating)
		})
	}
}

// TestShortLivedUseIsToldSoonAfterAnOutage: the source is back in time, by less than the longest pause.
func TestShortLivedUseIsToldSoonAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		const idle, often = 4 * time.Second, 20 * time.Millisecond
		busyUntil := func(end time.Time) {
			for ; time.Now().Before(end); time.Sleep(often) {
				c.get(t)
			}
		}
		for outage := 2 * time.Second; outage < idle-idle/8; outage += 50 * time.Millisecond {
			src.report(changed(testID, src.putIdle(testID, "v", idle)))
			began := time.Now()
			c.get(t)
			src.fail("unchanged", "request", errLink, 10_000)
			busyUntil(began.Add(outage))
			src.recover()
			busyUntil(began.Add(2 * idle))
		}
	}, watched, revalidating)
}

// TestUseOfAnEndedValueIsNotTold: the record of a use that comes too late is given up.
func TestUseOfAnEndedValueIsNotTold(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		const idle = 2 * time.Second
		src.putIdle(testID, "v", idle)
		c.get(t)
		time.Sleep(idle / 4)
		c.get(t)
		src.fail("unchanged", "request", errLink, 10_000)
		time.Sleep(2 * idle)
		synctest.Wait()
		require.Zero(t, c.refresh.pending.len())
	}, revalidating)
}

func TestUseTakesTheLaterIdleTime(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(freshness)
		src.fail("unchanged", "request", errLink, 10_000)
		c.get(t)
		time.Sleep(time.Second)
		revision := src.putIdle(testID, "remembered", 10*ttl)
		src.report(changed(testID, revision))
		c.get(t)
		time.Sleep(staleness) // the record of the use is there: this one is added
		c.get(t)
		time.Sleep(2 * freshness)
		c.get(t)
		used := time.Now()
		time.Sleep(2 * ttl)
		src.recover()
		time.Sleep(staleness)
		synctest.Wait()
		require.Equal(t, time.Since(used), src.idleFor(testID))
	}, watched, revalidating)
}

// TestFlightThatOutlivedItsValue: how long the value lives unused is known only with the answer.
func TestFlightThatOutlivedItsValue(t *testing.T) {
	t.Parallel()
	const idle = staleness / 4
	for name, test := range map[string]struct {
		joins time.Duration // after the flight was sent
		again bool          // the source is asked anew
		want  outcome
	}{
		"while it lived": {joins: idle - 1, want: outcome{v: "v"}},
		"afterwards":     {joins: idle, again: true, want: outcome{err: errAbsent}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.putIdle(testID, "v", idle)
				release := src.hold("load", "reply")
				first := c.loadLater(t.Context())
				time.Sleep(test.joins)
				var joined []<-chan outcome
				for range 5 {
					joined = append(joined, c.loadLater(t.Context()))
				}
				synctest.Wait()
				require.Equal(t, 1, src.loadCount())
				src.drop(testID)
				again := src.hold("load", "reply")
				release()
				require.Equal(t, outcome{v: "v"}, <-first)
				synctest.Wait()
				again()
				for _, j := range joined {
					require.Equal(t, test.want, <-j)
				}
				if test.again {
					require.Equal(t, 2, src.loadCount(), "they share the second one")
				} else {
					require.Equal(t, 1, src.loadCount())
				}
			}, revalidating)
		})
	}
}

// TestRetryJoinsOnlyAYoungFlight: a load that has to ask anew knows the idle lifetime by then.
func TestRetryJoinsOnlyAYoungFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		const idle = staleness / 4
		src.putIdle(testID, "v", idle)
		first := src.hold("load", "reply")
		began := c.loadLater(t.Context())
		time.Sleep(idle)
		joined := c.loadLater(t.Context())
		synctest.Wait()
		src.report(changed(testID, src.putIdle(testID, "v", idle))) // from now on the first flight is not joined
		second := src.hold("load", "reply")
		other := c.loadLater(t.Context())
		time.Sleep(idle)
		src.drop(testID)
		first()
		require.Equal(t, "v", (<-began).v)
		require.ErrorIs(t, (<-joined).err, errAbsent, "the second flight has outlived the value, too")
		second()
		require.Equal(t, "v", (<-other).v)
	}, watched, revalidating)
}
