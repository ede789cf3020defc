package nearcache

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDropAndGoneAreBothNeeded(t *testing.T) {
	t.Parallel()
	t.Run("Drop, for a copy that is there", func(t *testing.T) {
		inBubble(t, func(t *testing.T, src *source, c *replica) {
			require.NoError(t, c.store(t.Context(), testID, "old"))
			release := src.hold("remove", "reply")
			done := c.removeLater(t.Context())
			synctest.Wait() // the source has removed it, the answer is still to come
			require.ErrorIs(t, c.err(t), errAbsent)
			release()
			require.NoError(t, <-done)
		})
	})
	t.Run("Gone, for a load that ends before", func(t *testing.T) {
		inBubble(t, func(t *testing.T, src *source, c *replica) {
			src.put(testID, "old")
			release := src.hold("remove", "request")
			done := c.removeLater(t.Context())
			synctest.Wait() // the copy is dropped, the source still has the value
			require.Equal(t, "old", c.get(t))
			release()
			require.NoError(t, <-done)
			require.ErrorIs(t, c.err(t), errAbsent)
		})
	})
	t.Run("Gone, for a load that ends later", func(t *testing.T) {
		inBubble(t, func(t *testing.T, src *source, c *replica) {
			src.put(testID, "old")
			releaseRemove := src.hold("remove", "request")
			done := c.removeLater(t.Context())
			synctest.Wait()
			releaseLoad := src.hold("load", "reply")
			loaded := c.loadLater(t.Context())
			synctest.Wait() // sent after Drop, and read before the source removed the value
			releaseRemove()
			require.NoError(t, <-done)
			releaseLoad()
			require.Equal(t, outcome{v: "old"}, <-loaded)
			require.ErrorIs(t, c.err(t), errAbsent)
		})
	})
}

func TestSlowerStoreDoesNotReplaceALaterOne(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("store", "reply")
		slow := c.storeLater(t.Context(), "first")
		synctest.Wait()
		require.NoError(t, c.store(t.Context(), testID, "second"))
		release()
		require.NoError(t, <-slow)
		require.Equal(t, "second", c.get(t))
		require.Zero(t, src.loadCount(), "the copy of the later one stays")
	})
}

func TestStoreOverlappedByDeleteIsNotPromoted(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("store", "reply")
		stored := c.storeLater(t.Context(), "removed")
		synctest.Wait()
		require.NoError(t, c.remove(t.Context(), testID))
		release()
		require.NoError(t, <-stored)
		require.ErrorIs(t, c.err(t), errAbsent)
	})
}

func TestStoreDoesNotReplaceALaterStateLoaded(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		releaseLoad := src.hold("load", "request")
		loaded := c.loadLater(t.Context())
		synctest.Wait()
		time.Sleep(time.Microsecond)
		releaseStore := src.hold("store", "reply")
		stored := c.storeLater(t.Context(), "mine")
		synctest.Wait()
		src.put(testID, "theirs")
		releaseLoad()
		require.Equal(t, outcome{v: "theirs"}, <-loaded)
		releaseStore()
		require.NoError(t, <-stored)
		require.Equal(t, "theirs", c.get(t))
	})
}

func TestStoreOvertakenByAnEvent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(src *source) event
		want   outcome
	}{
		"changed": {func(src *source) event { return changed(testID, src.put(testID, "theirs")) }, outcome{v: "theirs"}},
		"removed": {func(src *source) event { src.drop(testID); return removed(testID) }, outcome{err: errAbsent}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.report(gap)
				release := src.hold("store", "reply")
				stored := c.storeLater(t.Context(), "mine")
				synctest.Wait()
				src.report(test.change(src))
				release()
				require.NoError(t, <-stored)
				require.Zero(t, c.Stats().Entries)
				require.Equal(t, test.want, c.load(t.Context(), testID))
			}, watched)
		})
	}
}

func TestOwnEventOvertakesTheReply(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap)
		release := src.hold("store", "reply")
		stored := c.storeLater(t.Context(), "mine")
		synctest.Wait()
		src.report(changed(testID, src.revisionOf(testID)))
		release()
		require.NoError(t, <-stored)
		require.Equal(t, "mine", c.get(t))
		require.Zero(t, src.loadCount(), "it was promoted")
	}, watched)
}

// TestWriteEndsOnce: Gone is a deferred call, and an unknown outcome leaves no copy.
func TestWriteEndsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		w, err := c.Begin(testID)
		require.NoError(t, err)
		w.Acknowledged(newState(testID, "v", 7), 7)
		w.Gone()
		require.Equal(t, "v", c.get(t))

		w, err = c.Begin(testID)
		require.NoError(t, err)
		w.Acknowledged(newState(testID, "of an unknown revision", 0), 0)
		require.Zero(t, c.Stats().Entries)
		require.Zero(t, src.loadCount())
	})
}
