package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServingRule(t *testing.T) {
	t.Parallel()
	c := newReplica(newSource())
	defer c.Close()
	const s = instant(staleness)
	for _, test := range []struct {
		name             string
		fetched, expires instant
		entry, lease     uint64 // epochs
		until, now       instant
		want             bool
	}{
		{"young", 0, never, 0, 0, 0, s - 1, true},
		{"too old", 0, never, 0, 0, 0, s, false},
		{"leased", 0, never, 1, 1, 10 * s, 10*s - 1, true},
		{"the lease has ended", 0, never, 1, 1, 10 * s, 10 * s, false},
		{"another epoch's lease", 0, never, 1, 2, 10 * s, s, false},
		{"another epoch's lease, but young", 0, never, 1, 2, 10 * s, s - 1, true},
		{"expired though young", 0, s / 2, 0, 0, 0, s / 2, false},
		{"expired though leased", 0, 5 * s, 1, 1, 10 * s, 5 * s, false},
		{"just before it expires", 0, 5 * s, 1, 1, 10 * s, 5*s - 1, true},
	} {
		e := &entry[state]{
			value: newState(testID, "", 7), revision: 7,
			fetchedAt: test.fetched, expiresAt: test.expires, epoch: test.entry,
		}
		l := &lease{epoch: test.lease, until: test.until}
		require.Equal(t, test.want, c.servable(e, l, test.now), test.name)
		e.value.revision.Store(8)
		require.False(t, c.servable(e, l, test.now), "%s, but not current", test.name)
	}
}

func TestLeasedHitsCostNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		for range 300 { // 5 minutes: half of the TTL
			time.Sleep(time.Second)
			c.get(t)
		}
		synctest.Wait()
		require.Zero(t, c.Stats().Misses)
		require.Equal(t, 5, src.loadCount(), "RefreshAfter is a minute")
		require.True(t, c.Stats().Leased)
	}, watched)
}

func TestLeaseEndsAfterTheLastProof(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		stop := src.flow(c)
		require.NoError(t, c.store(t.Context(), testID, "old"))
		proven := time.Now().Add(time.Minute) // by the last proof
		time.Sleep(time.Minute + time.Millisecond)
		stop()
		src.put(testID, "new")
		time.Sleep(time.Until(proven.Add(staleness)) - 1)
		require.Equal(t, "old", c.get(t))
		require.True(t, c.Stats().Leased)
		time.Sleep(time.Nanosecond)
		require.False(t, c.Stats().Leased)
		require.Equal(t, "new", c.get(t))
		require.EqualValues(t, 1, c.Stats().Refused)
		require.Equal(t, staleness, c.Stats().ProofAge)
	}, watched, refreshAfter(time.Hour))
}

func TestLeaseOutlivesTheWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		stop := src.flow(c)
		require.NoError(t, c.store(t.Context(), testID, "v"))
		proven := time.Now().Add(time.Minute) // by the last proof
		time.Sleep(time.Minute + time.Millisecond)
		stop()
		// The source is away, and so is each further attempt to watch.
		src.fail("load", "request", errLink, 10_000)
		for time.Now().Before(proven.Add(staleness - time.Millisecond)) {
			select {
			case src.events <- brokenOff:
			case <-time.After(time.Millisecond):
			}
			require.NoError(t, c.err(t), "hits go on for as long as the last proof allows")
		}
		time.Sleep(time.Millisecond)
		require.ErrorIs(t, c.err(t), errLink)
	}, watched, refreshAfter(time.Hour))
}

func TestLeaseCountsFromWhatIsProven(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap)
		require.NoError(t, c.store(t.Context(), testID, "old"))
		sent := time.Now()
		src.put(testID, "new") // after the heartbeat was sent; the event is lost
		time.Sleep(staleness / 2)
		src.report(alive(sent)) // slow: a stalled callback, or a slow link
		time.Sleep(staleness / 2)
		require.Equal(t, "new", c.get(t))
	}, watched)
}

func TestOlderProofDoesNotShortenTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		now := time.Now()
		src.report(gap)
		require.NoError(t, c.store(t.Context(), testID, "v"))
		src.report(alive(now), alive(now.Add(-staleness)))
		require.True(t, c.Stats().Leased)
	}, watched)
}

func TestEntryFromBeforeAGapIsNotCovered(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.put(testID, "new") // exactly one event is lost
		src.report(gap)
		require.Equal(t, "old", c.get(t), "within the bound it may be")
		time.Sleep(staleness)
		require.Equal(t, "new", c.get(t))
		require.EqualValues(t, 2, c.Stats().Gaps)
	}, watched, refreshAfter(time.Hour))
}

// TestEpochBeginsWithAProof: what is fetched before it, though after the Gap, may have been changed on a server that
// was deposed since, while the one that is watched now was still its replica.
func TestEpochBeginsWithAProof(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap)
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.put(testID, "new") // the event is passed to no subscriber
		defer src.prove(c)()
		require.NoError(t, c.store(t.Context(), numbered(1), "v"))
		time.Sleep(staleness)
		require.Equal(t, "new", c.get(t))
		require.NotNil(t, c.Hit(numbered(1)), "fetched after the proof")
	}, watched, refreshAfter(time.Hour))
}

// TestLeaseOnly: with fencing no copy is served for its age.
func TestLeaseOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		require.Nil(t, c.Hit(testID), "there is no lease")
		src.report(gap, alive(time.Now()))
		require.Nil(t, c.Hit(testID), "it is of an earlier epoch")
		require.Equal(t, "v", c.get(t))
		require.NotNil(t, c.Hit(testID))
		time.Sleep(staleness)
		require.Nil(t, c.Hit(testID), "the lease has ended")
		src.fail("load", "request", errLink, 10)
		require.ErrorIs(t, c.err(t), errLink)
		require.ErrorIs(t, c.err(t), errLink, "nor is it served because of an error")
	}, watched, leaseOnly)
}

// TestLeaseOnlyJoinsNoUncoveredFlight: without a lease one flight is sent and one waits, whatever number of loads there
// are.
func TestLeaseOnlyJoinsNoUncoveredFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		release := src.hold("load", "reply")
		first := c.loadLater(t.Context())
		synctest.Wait()
		src.put(testID, "new")
		var later []<-chan outcome
		for range 10 {
			later = append(later, c.loadLater(t.Context()))
		}
		synctest.Wait()
		require.Equal(t, 1, src.loadCount())
		release()
		require.Equal(t, outcome{v: "old"}, <-first)
		for _, load := range later {
			require.Equal(t, outcome{v: "new"}, <-load)
		}
		require.Equal(t, 2, src.loadCount())

		// The one that waits fails with its callers, its time, or an outage, and does not hold others up.
		time.Sleep(time.Millisecond)
		release = src.hold("load", "request")
		_ = c.loadLater(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, (<-c.loadLater(ctx)).err, context.DeadlineExceeded)
		behind := c.loadLater(t.Context())
		require.ErrorIs(t, (<-behind).err, ErrOutage)
		release()
		synctest.Wait()
		require.Zero(t, c.flights.len())
	}, leaseOnly)
}

func TestLeaseIsReadBeforeTheEntry(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now()))
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness) // the link for events stalls

		read := c.lease.Load() // a load begins
		src.report(alive(time.Now()))
		e, _ := c.lookUp(read, testID)
		require.Nil(t, e, "the events ahead of the proof may have removed the entry just after it was found")
		e, _ = c.lookUp(c.lease.Load(), testID)
		require.NotNil(t, e)
	}, watched)
}
