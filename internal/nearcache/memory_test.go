package nearcache

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// sumOfSizes counts the memory of a table anew.
func sumOfSizes[V any](tab *table[V]) int64 {
	sum := tab.indexSize()
	for i := range tab.index {
		for e := tab.index[i].Load(); e != nil; e = e.next.Load() {
			sum += e.size
		}
	}
	return sum
}

// TestBytesAreTheSumOfAllEntries: after each of many random steps, and never more than the limit.
func TestBytesAreTheSumOfAllEntries(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]struct {
		entries int
		bytes   int64
	}{
		"bytes only":         {entries: 1 << 20, bytes: 64 << 10},
		"entries and bytes":  {entries: 100, bytes: 64 << 10},
		"entries only":       {entries: 10, bytes: 0},
		"less than an entry": {entries: 10, bytes: 100},
		"a few":              {entries: 10, bytes: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				random := rand.New(rand.NewPCG(1, 2))
				text := func() string { return strings.Repeat("x", random.IntN(1<<(1+random.IntN(14)))) }
				most := int64(0)
				for range 3000 {
					id := strconv.Itoa(random.IntN(200))
					switch random.IntN(8) {
					case 0:
						require.NoError(t, c.remove(t.Context(), id))
					case 1, 2:
						_ = c.Hit(id)
					case 3:
						src.put(id, text())
						_, err := c.FetchFresh(t.Context(), id) // replaces the copy
						require.NoError(t, err)
					default:
						require.NoError(t, c.store(t.Context(), id, text()))
					}
					bytes := c.Stats().Bytes
					require.Equal(t, sumOfSizes(c.table), bytes)
					require.Equal(t, c.table.order.Len(), c.Stats().Entries)
					require.LessOrEqual(t, c.Stats().Entries, limit.entries)
					if limit.bytes > 0 && c.Stats().Entries > 0 {
						require.LessOrEqual(t, bytes, limit.bytes)
					}
					most = max(most, bytes)
				}
				require.Equal(t, limit.bytes > 0, c.Stats().TooLarge > 0)
				if limit.bytes > 100*overhead[state]() {
					require.Greater(t, most, limit.bytes-limit.bytes/largestShare, "the room is used")
				}
				c.Close()
				require.Equal(t, c.table.indexSize(), c.Stats().Bytes)
			}, maxEntries(limit.entries), maxBytes(limit.bytes))
		})
	}
}

func TestIndexIsNoLargerThanItsEntriesNeed(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	tab := newTable[state](1<<30, limit)
	require.Less(t, tab.bytes, int64(limit/10))
	require.LessOrEqual(t, int64(tab.max)*overhead[state](), int64(limit))
	require.Equal(t, 7, newTable[state](7, limit).max)
	require.Equal(t, 1, newTable[state](7, 1).max)
}

func TestLargeValueMakesRoomForItself(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		room := (c.config.MaxBytes - c.table.bytes) / (overhead[state]() + 1000)
		for i := range room {
			time.Sleep(time.Millisecond)
			require.NoError(t, c.store(t.Context(), numbered(int(i)), strings.Repeat("x", 1000)))
		}
		require.Zero(t, c.Stats().Evictions)
		time.Sleep(time.Millisecond)
		require.NotNil(t, c.Hit(numbered(0)))
		require.NoError(t, c.store(t.Context(), "large", strings.Repeat("x", 2500)))
		require.NotNil(t, c.Hit("large"))
		require.NotNil(t, c.Hit(numbered(0)), "used since")
		for i := range 2 {
			require.Nil(t, c.Hit(numbered(i+1)), "the least recently used ones")
		}
		require.NotNil(t, c.Hit(numbered(4)))
	}, maxBytes(64<<10))
}

// TestTooLargeValueIsPassedThrough: it is loaded, and not kept, nor is what was there before.
func TestTooLargeValueIsPassedThrough(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		large := strings.Repeat("x", 8<<10)
		require.NoError(t, c.store(t.Context(), "other", "v"))
		require.NoError(t, c.store(t.Context(), testID, "small"))
		require.NotNil(t, c.Hit(testID))
		src.put(testID, large) // the event is lost
		time.Sleep(freshness)
		c.get(t)
		synctest.Wait()
		require.Nil(t, c.Hit(testID), "the renewed copy would be too large")
		for i := range 3 {
			require.Equal(t, large, c.get(t))
			require.EqualValues(t, 2+i, c.Stats().TooLarge)
			require.Equal(t, 2+i, src.loadCount())
		}
		require.NoError(t, c.store(t.Context(), testID, large+"y"))
		require.Equal(t, large+"y", c.get(t))
		require.NotNil(t, c.Hit("other"))
		require.Zero(t, c.Stats().Evictions)
	}, watched, maxBytes(64<<10))
}

// TestUseOfATooLargeValueIsTold: a load that joined a flight long after it was sent is a use, though there is no copy.
func TestUseOfATooLargeValueIsTold(t *testing.T) {
	const shortTTL = 4 * time.Second
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, strings.Repeat("x", 8<<10))
		release := src.hold("load", "reply")
		first := c.loadLater(t.Context())
		time.Sleep(staleness - time.Millisecond)
		joined := c.loadLater(t.Context())
		synctest.Wait()
		release()
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-joined).err)
		time.Sleep(100 * time.Millisecond)
		require.LessOrEqual(t, src.idleFor(testID), 100*time.Millisecond)
	}, revalidating, sourceTTL(shortTTL), refreshAfter(shortTTL/4), loadTimeout(time.Minute), maxBytes(64<<10))
}

// TestCopyKeepsItsOwnID: the caller's may be a part of something larger, such as a whole request.
func TestCopyKeepsItsOwnID(t *testing.T) {
	t.Parallel()
	own := strings.Clone(testID)
	c := newReplica(newSource(), func(_ *source, config *Config[state]) {
		config.ID = func(*state) string { return own }
	})
	defer c.Close()
	require.NoError(t, c.store(t.Context(), testID, "v"))
	require.Same(t, unsafe.StringData(own), unsafe.StringData(c.table.find(testID).id))
}
