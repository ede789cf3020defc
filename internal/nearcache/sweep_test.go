package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSweepDropsIdleCopies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before time.Duration // from when the source was told
		drops  bool
	}{
		"used since":         {before: -1, drops: false},
		"used at that time":  {before: 0, drops: false},
		"used before":        {before: 1, drops: true},
		"the present":        {before: time.Second, drops: true},
		"the future":         {before: time.Hour, drops: true},
		"long ago":           {before: -100 * 365 * 24 * time.Hour, drops: false},
		"the end of time":    {before: 1<<63 - 1, drops: true},
		"before the process": {before: -time.Hour, drops: false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				time.Sleep(time.Minute)
				require.NoError(t, c.store(t.Context(), testID, "v"))
				told := time.Now()
				time.Sleep(time.Second)
				require.NotNil(t, c.Hit(testID), "a use of which the source is not told yet")
				c.Swept(told.Add(test.before))
				require.Equal(t, test.drops, c.Hit(testID) == nil)
			}, watched)
		})
	}
}

// TestSweepGoesByWhatTheSourceKnows: a revalidation makes a copy fresher than the use that it tells of.
func TestSweepGoesByWhatTheSourceKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(freshness)
		c.get(t)
		used := time.Now()
		time.Sleep(linger)
		synctest.Wait()
		require.Equal(t, []int{1}, src.takeBatches())
		c.Swept(used)
		require.NotNil(t, c.Hit(testID))
		c.Swept(used.Add(1)) // the source may have removed it after it was asked
		require.Nil(t, c.Hit(testID))
	}, watched, revalidating)
}

func TestAnswerFromBeforeASweepIsNotCached(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before time.Duration // from when the load is sent
		want   outcome
	}{
		"sent before it":  {before: 1, want: outcome{err: errAbsent}},
		"sent at it":      {before: 0, want: outcome{v: "v"}},
		"sent since then": {before: -1, want: outcome{v: "v"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.put(testID, "v")
				release := src.hold("load", "reply")
				sent := time.Now()
				loaded := c.loadLater(t.Context())
				time.Sleep(time.Second) // the answer has been read
				if test.before > 0 {
					src.drop(testID)
				}
				c.Swept(sent.Add(test.before))
				joins := c.loadLater(t.Context())
				synctest.Wait()
				release()
				require.Equal(t, outcome{v: "v"}, <-loaded, "it began before")
				require.Equal(t, test.want, <-joins)
				require.Equal(t, test.want, c.load(t.Context(), testID))
			})
		})
	}
}

func TestStoreFromBeforeASweepIsNoCopy(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("store", "reply")
		stored := c.storeLater(t.Context(), "v")
		time.Sleep(time.Second)
		src.drop(testID)
		c.Swept(time.Now())
		release()
		require.NoError(t, <-stored)
		require.ErrorIs(t, c.err(t), errAbsent)
	})
}

func TestSweepOfALargeTable(t *testing.T) {
	const n = 3 * sweepTurn
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		for range 2 {
			c.storeAll(t, n)
			time.Sleep(time.Second)
			require.NoError(t, c.store(t.Context(), "young", "v"))
			c.Swept(time.Now())
			require.Equal(t, 1, c.Stats().Entries)
			require.NotNil(t, c.Hit("young"))
		}
	}, maxEntries(n+1))
}

// ownedByA is how a test revokes all values of one owner.
func ownedByA(s *state) bool { return s.v == "of a" }

func TestForgottenCopiesAreDropped(t *testing.T) {
	const n = 3 * sweepTurn
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		for i := range n {
			require.NoError(t, c.store(t.Context(), numbered(i), []string{"of a", "of b"}[i%2]))
		}
		c.Forgotten(ownedByA)
		for i := range n {
			require.Equal(t, i%2 == 1, c.Hit(numbered(i)) != nil)
		}
		c.Forgotten(func(*state) bool { return false })
		require.Equal(t, n/2, c.Stats().Entries)
	}, watched, maxEntries(n))
}

// TestCallFromBeforeARevokeIsNoCopy: it is not known whose value a call brings, so none that was sent before is kept.
func TestCallFromBeforeARevokeIsNoCopy(t *testing.T) {
	t.Parallel()
	for op, begin := range map[string]func(t *testing.T, c *replica) <-chan error{
		"load": func(t *testing.T, c *replica) <-chan error {
			return later(func() error { return c.err(t) })
		},
		"store": func(t *testing.T, c *replica) <-chan error { return c.storeLater(t.Context(), "of a") },
	} {
		t.Run(op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.put(testID, "of a")
				release := src.hold(op, "reply")
				done := begin(t, c)
				synctest.Wait()
				src.drop(testID)
				c.Forgotten(ownedByA)
				joins := c.loadLater(t.Context())
				synctest.Wait()
				release()
				require.NoError(t, <-done, "it began before")
				require.ErrorIs(t, (<-joins).err, errAbsent)
				require.ErrorIs(t, c.err(t), errAbsent)
			})
		})
	}
}

func TestRevalidationFromBeforeARevokeBringsNothingBack(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		require.NoError(t, c.store(t.Context(), testID, "of a"))
		time.Sleep(freshness)
		c.get(t)
		release := src.hold("unchanged", "reply")
		time.Sleep(linger)
		synctest.Wait()
		src.drop(testID)
		c.Forgotten(ownedByA)
		release()
		synctest.Wait()
		require.ErrorIs(t, c.err(t), errAbsent)
	}, watched, revalidating)
}
