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
	noted := tier.usedAt(busy)
	tier.touch(busy, noted+coarseGrain-1)
	require.Equal(t, noted, tier.usedAt(busy), "processors can share what is read, not what is written")
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
		slots := slices.Clone(tier.uses.free)
		for i, p := range tier.order {
			slots = append(slots, p.entry.slot)
			require.Same(t, p.entry, tier.get(p.entry.id))
			require.Equal(t, i, p.entry.rank)
			require.LessOrEqual(t, tier.order[max(0, i-1)/2].usedAt, p.usedAt)
		}
		slices.Sort(slots)
		require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, slots)
	}
	require.Nil(t, tier.order[:cap(tier.order)][tier.lenLocked()].entry, "what is out can be collected")
	tier.purgeLocked()
	require.Zero(t, tier.lenLocked())
	require.Nil(t, tier.get("id-0"))
}

// TestUsesInAllStripes has hits in goroutines all over the place. Wherever each notes a use, the order knows of it.
func TestUsesInAllStripes(t *testing.T) {
	t.Parallel()
	const size, rounds = 20, 200
	tier := newLocalTier(size)
	for i := range size {
		tier.putLocked(testEntry(fmt.Sprint("id-", i)), 0)
	}
	random := rand.New(rand.NewPCG(5, 6)) // the same sequence every time
	stripes := make(map[int]bool)
	for round := instant(1); round < rounds; round++ {
		order := random.Perm(size)
		for i, which := range order {
			e := tier.get(fmt.Sprint("id-", which))
			now := round*size + instant(i)
			<-elsewhere(random.IntN(64), func() { tier.touch(e, now) })
			require.Equal(t, now, tier.usedAt(e))
			for stripe := range useStripes {
				if instant(tier.uses.at[stripe*tier.uses.stride+e.slot].Load()) == now {
					stripes[stripe] = true
				}
			}
		}
		require.Equal(t, fmt.Sprint("id-", order[0]), tier.leastUsedLocked().id)
	}
	require.Len(t, stripes, useStripes)
}

// elsewhere calls f on a stack of its own, below depth calls.
func elsewhere(depth int, f func()) <-chan byte {
	done := make(chan byte, 1)
	go func() { done <- below(depth, f) }()
	return done
}

func below(depth int, f func()) byte {
	if depth == 0 {
		f()
		return 0
	}
	var frame [256]byte // not to be on the same part of the stack
	frame[depth] = byte(depth)
	return below(depth-1, f) + frame[0]
}

func TestNeighborsHaveStripesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for size := uintptr(2 << 10); size <= 64<<10; size *= 2 {
		counters, uses := make(map[uint]bool), make(map[uint]bool)
		for i := range uintptr(hitCounters) {
			counters[stripeAt((i+1)*size-100)%hitCounters] = true
			uses[useStripe(stripeAt((i+1)*size-100))] = true
			if i%useStripes == useStripes-1 {
				require.Len(t, uses, useStripes, "stacks of %d bytes", size)
				clear(uses)
			}
		}
		require.Len(t, counters, hitCounters, "stacks of %d bytes", size)
	}
	for size := 1; size <= exactEntries; size++ {
		u := newUses(size)
		require.Zero(t, u.stride*8%cacheLine, "stripes share no line")
		require.GreaterOrEqual(t, u.stride, size)
	}
}

func TestUsesStayWithTheSession(t *testing.T) {
	t.Parallel()
	tier := newLocalTier(3)
	renewed, deleted := testEntry("renewed"), testEntry("deleted")
	tier.putLocked(renewed, 1)
	tier.putLocked(deleted, 2)
	tier.touch(renewed, 3)
	tier.touch(deleted, 4)
	tier.removeLocked("deleted")
	for range 3 { // its slot is free, and not taken by one that has less to do with it
		e := testEntry("renewed")
		tier.putLocked(e, tier.usedAt(tier.get("renewed")))
		require.EqualValues(t, 3, tier.usedAt(e))
	}
	tier.putLocked(testEntry("new"), 5)
	tier.touch(deleted, 4) // by a hit that has found it before it was deleted
	require.EqualValues(t, 5, tier.usedAt(tier.get("new")))
	tier.touch(tier.get("new"), 6)
	tier.touch(tier.get("new"), 5) // by a hit that comes late
	require.EqualValues(t, 6, tier.usedAt(tier.get("new")))
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
