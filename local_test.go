package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func testEntry(id string) *entry { return &entry{id: id, session: New(id), expiresAt: never} }

func TestLeastRecentlyUsedMakesRoomExactly(t *testing.T) {
	t.Parallel()
	const size = exactEntries
	tier := newLocalTier(size)
	random := rand.New(rand.NewPCG(1, 2)) // the same sequence every time
	var order []string                    // what the LRU should be, the oldest first
	for step := range 20 * size {
		now := instant(step)
		id := fmt.Sprint("id-", random.IntN(size+size/4))
		known := slices.Index(order, id)
		if e := tier.get(id); e != nil {
			require.GreaterOrEqual(t, known, 0)
			tier.touch(e, now)
		} else {
			require.Negative(t, known)
			evicted := tier.putLocked(testEntry(id), now)
			require.Equal(t, len(order) == size, evicted)
			if evicted {
				require.Nil(t, tier.get(order[0]), "the least recently used one has made room")
				order = order[1:]
			}
		}
		if known >= 0 {
			order = slices.Delete(order, known, known+1)
		}
		order = append(order, id)
		require.Equal(t, len(order), tier.lenLocked())
	}
}

func TestEvictionAboveTheExactSize(t *testing.T) {
	t.Parallel()
	const size = 4 * exactEntries
	tier := newLocalTier(size)
	now := instant(0)
	next := func() instant {
		now += coarseGrain
		return now
	}
	for i := range size {
		require.False(t, tier.putLocked(testEntry(fmt.Sprint("id-", i)), next()))
	}
	busy := tier.get("id-0")
	for i := range 10 * size {
		tier.touch(busy, next())
		require.True(t, tier.putLocked(testEntry(fmt.Sprint("new-", i)), next()))
		require.Equal(t, size, tier.lenLocked())
	}
	require.Same(t, busy, tier.get("id-0"), "what is in use stays")
	require.Nil(t, tier.get("id-1"))

	for _, p := range tier.order { // all in use at once: something has to go, and without looking at all of them
		tier.touch(p.entry, next())
	}
	require.True(t, tier.putLocked(testEntry("one more"), next()))
	require.Equal(t, size, tier.lenLocked())
	reconsidered := -1 // the new one is where it should be anyway
	for _, p := range tier.order {
		if p.usedAt == instant(p.entry.usedAt.Load()) {
			reconsidered++
		}
	}
	require.LessOrEqual(t, reconsidered, maxReconsidered)
}

func TestIndexAgreesWithTheOrder(t *testing.T) {
	t.Parallel()
	tier := newLocalTier(8) // short, so that chains are long and all cases of unlinking occur
	tier.mask = 1
	random := rand.New(rand.NewPCG(3, 4)) // the same sequence every time
	for step := range 10_000 {
		id := fmt.Sprint("id-", random.IntN(16))
		if e := tier.get(fmt.Sprint("id-", random.IntN(16))); e != nil {
			tier.touch(e, instant(step))
		}
		if random.IntN(3) == 0 {
			require.Equal(t, tier.get(id) != nil, tier.removeLocked(id))
			require.Nil(t, tier.get(id))
		} else {
			e := testEntry(id)
			tier.putLocked(e, instant(step))
			require.Same(t, e, tier.get(id))
		}
		indexed := 0
		for i := range tier.index {
			for e := tier.index[i].Load(); e != nil; e = e.next.Load() {
				indexed++
			}
		}
		require.Equal(t, tier.lenLocked(), indexed)
		for i, p := range tier.order {
			require.Same(t, p.entry, tier.get(p.entry.id))
			require.Equal(t, i, p.entry.rank)
			require.LessOrEqual(t, tier.order[max(0, i-1)/2].usedAt, p.usedAt)
		}
	}
	require.Nil(t, tier.order[:cap(tier.order)][tier.lenLocked()].entry, "what is out can be collected")
	tier.purgeLocked()
	require.Zero(t, tier.lenLocked())
	require.Nil(t, tier.get("id-0"))
}

// TestUsesOnAllProcessors has hits in goroutines all over the place. Wherever each notes a use, the order knows of it.
func TestUsesOnAllProcessors(t *testing.T) {
	t.Parallel()
	const size, rounds = 20, 200
	tier := newLocalTier(size)
	for i := range size {
		tier.putLocked(testEntry(fmt.Sprint("id-", i)), 0)
	}
	random := rand.New(rand.NewPCG(5, 6)) // the same sequence every time
	used := make(map[uint]int)            // stripes
	for now := instant(1); now < rounds; now++ {
		order := random.Perm(size)
		for i, which := range order {
			e := tier.get(fmt.Sprint("id-", which))
			at := now*size + instant(i)
			used[<-elsewhere(random.IntN(64), func() { tier.touch(e, at) })]++
			require.Equal(t, at, tier.usedAt(e))
		}
		least := tier.leastUsedLocked()
		require.Equal(t, fmt.Sprint("id-", order[0]), least.id)
	}
	require.Len(t, used, useStripes)
}

// elsewhere calls f on a stack of its own, below depth calls of itself, and returns the stripe that it took.
func elsewhere(depth int, f func()) <-chan uint {
	done := make(chan uint, 1)
	go func() { done <- below(depth, f) }()
	return done
}

func below(depth int, f func()) uint {
	if depth == 0 {
		f()
		return stripe() % useStripes
	}
	var frame [256]byte // not to be on the same part of the stack
	frame[depth] = byte(depth)
	return below(depth-1, f) + uint(frame[0])
}

func TestNeighborsHaveStripesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, base := range []uintptr{0, 0xc000_0000_0000 + 0x38_7000, 0x1234_5678_0000} {
		for size := uintptr(2 << 10); size <= 64<<10; size *= 2 {
			stripes := make(map[uint]bool)
			group := base / (useStripes * size) * (useStripes * size)
			for i := range uintptr(useStripes) {
				stripes[stripeAt(group+(i+1)*size-100)%useStripes] = true
			}
			require.Len(t, stripes, useStripes, "stacks of %d bytes from %x", size, base)
		}
	}
}

func TestRenewingIsNotUsing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(time.Hour)
		st := NewRoutingStorage(remote, 2)
		defer func() { require.NoError(t, st.Close()) }()
		require.NoError(t, st.Store(t.Context(), numbered(0)))
		time.Sleep(st.maxStaleness / 4)
		require.NoError(t, st.Store(t.Context(), numbered(1)))
		time.Sleep(st.maxStaleness / 4)
		release := remote.hold("load", "reply")
		loadAll(t, st, 1) // which is due
		time.Sleep(time.Millisecond)
		_, err := st.Load(t.Context(), numbered(1).ID())
		require.NoError(t, err)
		time.Sleep(time.Millisecond)
		release()
		synctest.Wait()
		require.EqualValues(t, 1, st.Stats().Refreshes)
		require.NoError(t, st.Store(t.Context(), numbered(2)))
		require.Nil(t, st.local.get(numbered(0).ID()), "the least recently used")
		require.NotNil(t, st.local.get(numbered(1).ID()))
	})
}

// TestHitsDuringChanges has readers without a lock run into all that writers do. Each finds its own session or none.
func TestHitsDuringChanges(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(NewMemoryStorage(time.Hour), 4)
	defer func() { require.NoError(t, st.Close()) }()
	var stop atomic.Bool
	var readers, writers []<-chan error
	for range 2 {
		readers = append(readers, later(func() error {
			for i := 0; !stop.Load(); i++ {
				id := fmt.Sprint("id-", i%8)
				if s, err := st.Load(t.Context(), id); err == nil && s.ID() != id {
					return errors.New("wrong session")
				}
			}
			return nil
		}))
		writers = append(writers, later(func() error {
			for i := range 5000 {
				id := fmt.Sprint("id-", i%8)
				if err := st.Store(t.Context(), New(id)); err != nil {
					return err
				}
				if err := st.Delete(t.Context(), fmt.Sprint("id-", i%3)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	for _, done := range writers {
		require.NoError(t, <-done)
	}
	stop.Store(true)
	for _, done := range readers {
		require.NoError(t, <-done)
	}
	require.LessOrEqual(t, st.Stats().Entries, 4)
}
