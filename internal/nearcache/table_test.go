package nearcache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func tableEntry(id string) *entry[struct{}] { return &entry[struct{}]{id: id, expiresAt: never} }

// put adds an entry as a cache does, and returns the one that made room, or nil.
func put(t *table[struct{}], e *entry[struct{}], now instant) (evicted *entry[struct{}]) {
	for !t.fitsLocked(e) {
		evicted = t.evictLocked()
	}
	t.putLocked(e, now)
	return evicted
}

func has(t *table[struct{}], id string) bool { return t.find(id) != nil }

// usesModel is a table as a specification: a list of ids in the order of their last use, the oldest first.
type usesModel struct {
	ids []string
	max int
}

func (m *usesModel) use(id string) {
	m.remove(id)
	m.ids = append(m.ids, id)
}

func (m *usesModel) remove(id string) bool {
	i := slices.Index(m.ids, id)
	if i >= 0 {
		m.ids = slices.Delete(m.ids, i, i+1)
	}
	return i >= 0
}

func (m *usesModel) put(id string) (evicted bool) {
	if slices.Contains(m.ids, id) {
		return false // renewed, not used
	}
	evicted = len(m.ids) == m.max
	if evicted {
		m.ids = m.ids[1:]
	}
	m.ids = append(m.ids, id)
	return evicted
}

// TestSmallTableIsAnExactLRU compares the table with the model after each of many random steps.
func TestSmallTableIsAnExactLRU(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 3, 10, exactEntries} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			tab, model := newTable[struct{}](size, 0), &usesModel{max: size}
			tab.mask &= 1                         // long chains: every way to unlink an entry occurs
			random := rand.New(rand.NewPCG(1, 2)) // the same sequence every time
			for step := range 50 * size {
				now := instant(step + 1)
				id := fmt.Sprint("id-", random.IntN(size+size/2+1))
				switch action := random.IntN(8); {
				case action == 0:
					require.Equal(t, model.remove(id), tab.removeLocked(id) != nil)
				case action <= 3:
					if e := tab.find(id); e != nil {
						tab.touch(e, now)
						model.use(id)
					}
				default:
					e := tableEntry(id)
					require.Equal(t, model.put(id), put(tab, e, now) != nil)
					require.Same(t, e, tab.find(id))
				}
				requireSame(t, tab, model)
			}
			tab.purgeLocked()
			requireSame(t, tab, &usesModel{})
		})
	}
}

// requireSame checks that index, order and model hold the same entries.
func requireSame(t *testing.T, tab *table[struct{}], model *usesModel) {
	t.Helper()
	require.Equal(t, len(model.ids), tab.lenLocked())
	for _, id := range model.ids {
		require.True(t, has(tab, id))
		require.True(t, tab.order.Contains(id))
	}
	indexed := 0
	for i := range tab.index {
		for e := tab.index[i].Load(); e != nil; e = e.next.Load() {
			indexed++
		}
	}
	require.Equal(t, len(model.ids), indexed)
}

func TestLargeTableGivesASecondChance(t *testing.T) {
	t.Parallel()
	const size = 4 * exactEntries
	tab := newTable[struct{}](size, 0)
	now := instant(0)
	next := func() instant {
		now += coarseGrain + 1
		return now
	}
	for i := range size {
		require.Nil(t, put(tab, tableEntry(fmt.Sprint("id-", i)), next()))
	}
	busy := tab.find("id-0")
	for i := range 10 * size {
		tab.touch(busy, next())
		require.NotNil(t, put(tab, tableEntry(fmt.Sprint("new-", i)), next()))
		require.Equal(t, size, tab.lenLocked())
	}
	require.Same(t, busy, tab.find("id-0"), "an entry in use stays")
	require.False(t, has(tab, "id-1"))
}

// TestEvictionLooksAtFewEntries: when every entry is in use, something has to go, and without looking at all of them.
func TestEvictionLooksAtFewEntries(t *testing.T) {
	t.Parallel()
	const size = 4 * exactEntries
	tab := newTable[struct{}](size, 0)
	for i := range size {
		put(tab, tableEntry(fmt.Sprint("id-", i)), 0)
	}
	for _, e := range tab.entriesLocked() {
		tab.touch(e, coarseGrain+1)
	}
	require.NotNil(t, put(tab, tableEntry("one more"), 2*coarseGrain))
	chances := 0
	for i := range size {
		if e := tab.find(fmt.Sprint("id-", i)); e != nil && e.placedAt != 0 {
			chances++
		}
	}
	require.Equal(t, maxChances, chances)
	require.False(t, has(tab, fmt.Sprint("id-", maxChances)), "the one behind them has made room")
}

func TestLoadedValueIsPlacedAtOnce(t *testing.T) {
	t.Parallel()
	tab := newTable[struct{}](2*exactEntries, 0)
	for i := range 2 * exactEntries {
		e := tableEntry(strconv.Itoa(i))
		put(tab, e, instant(10*i))
		tab.useLocked(e, instant(10*i+5))
		require.Equal(t, instant(e.usedAt.Load()), e.placedAt, "it needs no second chance")
	}
	tab.useLocked(tab.find("0"), 1<<20)
	require.Equal(t, "1", tab.evictLocked().id)
	tab.useLocked(tab.find("0"), 5)
	require.EqualValues(t, 1<<20, tab.find("0").usedAt.Load(), "an earlier use is none")
}

func TestUsesAreNotedOncePerGrain(t *testing.T) {
	t.Parallel()
	tab := newTable[struct{}](2*exactEntries, 0)
	e := tableEntry("id")
	put(tab, e, 1)
	tab.touch(e, 1+coarseGrain)
	require.EqualValues(t, 1, e.usedAt.Load(), "processors share a cache line that is read, not one that is written")
	tab.touch(e, 2+coarseGrain)
	require.EqualValues(t, 2+coarseGrain, e.usedAt.Load())
}

func TestLateHitDoesNotUndoALaterUse(t *testing.T) {
	t.Parallel()
	tab := newTable[struct{}](1, 0)
	e := tableEntry("id")
	put(tab, e, 1)
	tab.touch(e, 6)
	tab.touch(e, 5) // by a hit that read the clock, and then stalled
	require.EqualValues(t, 6, e.usedAt.Load())
}

func TestRenewedEntryKeepsItsUses(t *testing.T) {
	t.Parallel()
	tab := newTable[struct{}](2, 0)
	put(tab, tableEntry("renewed"), 1)
	put(tab, tableEntry("other"), 2)
	tab.touch(tab.find("renewed"), 3)
	put(tab, tableEntry("renewed"), 4)
	tab.touch(tab.find("other"), 5)
	require.NotNil(t, put(tab, tableEntry("new"), 6))
	require.False(t, has(tab, "renewed"), "to renew is not to use")
	require.True(t, has(tab, "other"))
}
