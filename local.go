package session

import (
	"container/heap"
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"
)

// localTier is the bounded set of entries. Entries are found through an index, by hits without a lock. Hits only note
// when an entry was used; the order learns of it before something has to make room.
//
// A lookup without the lock may miss an entry that is being replaced. Whoever misses one looks again under the lock.
type localTier struct {
	seed  maphash.Seed
	mask  uint64                  // chooses a chain by the lower bits of a hash
	index []atomic.Pointer[entry] // chains of entries by hash, the latest first; changed under RoutingStorage.mu

	order order // guarded by RoutingStorage.mu
	max   int
	grain instant // uses closer together than this are noted as one
	uses  *uses   // of a small tier; a large one has them in the entries
}

// Up to exactEntries the least recently used entry makes room, exactly. Beyond that, uses are noted by the hundredth of
// a second, and only so many entries are considered.
const (
	exactEntries    = 1024
	coarseGrain     = instant(10 * time.Millisecond)
	maxReconsidered = 16
	maxChainBits    = 22 // longer chains beyond four million entries, instead of memory that may never be used
)

func newLocalTier(maxEntries int) *localTier {
	chains := uint64(1) << min(bits.Len(uint(maxEntries-1)), maxChainBits)
	t := &localTier{
		seed:  maphash.MakeSeed(),
		mask:  chains - 1,
		index: make([]atomic.Pointer[entry], chains),
		max:   maxEntries,
	}
	if maxEntries > exactEntries {
		t.grain = coarseGrain
	} else {
		t.uses = newUses(maxEntries)
	}
	return t
}

func (t *localTier) chain(id string) *atomic.Pointer[entry] {
	return &t.index[maphash.String(t.seed, id)&t.mask]
}

// get finds an entry. It needs no lock.
func (t *localTier) get(id string) *entry {
	for e := t.chain(id).Load(); e != nil; e = e.next.Load() {
		if e.id == id {
			return e
		}
	}
	return nil
}

// touch notes a use. It is small, so that the compiler can inline it.
func (t *localTier) touch(e *entry, now instant) {
	if instant(e.usedAt.Load())+t.grain <= now {
		t.note(e, now)
	}
}

func (t *localTier) note(e *entry, now instant) {
	noted := &e.usedAt
	if t.uses != nil {
		noted = t.uses.here(e.slot)
	}
	for last := noted.Load(); instant(last) < now; last = noted.Load() {
		if noted.CompareAndSwap(last, int64(now)) { // it fails if another use was noted meanwhile, maybe a later one
			return
		}
	}
}

// usedAt is when an entry was used last.
func (t *localTier) usedAt(e *entry) instant {
	usedAt := instant(e.usedAt.Load())
	if t.uses != nil {
		usedAt = max(usedAt, t.uses.latest(e.slot))
	}
	return usedAt
}

func (t *localTier) lenLocked() int { return len(t.order) }

// putLocked adds an entry, in the place of another of its id, and reports whether one had to make room.
func (t *localTier) putLocked(e *entry, usedAt instant) (evicted bool) {
	if !t.removeLocked(e.id) && len(t.order) == t.max {
		t.removeLocked(t.leastUsedLocked().id)
		evicted = true
	}
	e.usedAt.Store(int64(usedAt))
	if t.uses != nil {
		e.slot = t.uses.takeLocked()
	}
	heap.Push(&t.order, e)
	head := t.chain(e.id)
	e.next.Store(head.Load())
	head.Store(e)
	return evicted
}

// removeLocked takes an entry out. Its own link stays: whoever is at it goes on along the chain.
func (t *localTier) removeLocked(id string) bool {
	link := t.chain(id)
	for e := link.Load(); e != nil; e = link.Load() {
		if e.id == id {
			link.Store(e.next.Load())
			heap.Remove(&t.order, e.rank)
			if t.uses != nil {
				t.uses.giveBackLocked(e.slot)
			}
			return true
		}
		link = &e.next
	}
	return false
}

// purgeLocked is for the end: nothing is put after it.
func (t *localTier) purgeLocked() {
	t.order = nil
	for i := range t.index {
		t.index[i].Store(nil)
	}
}

// leastUsedLocked chooses the entry that makes room.
func (t *localTier) leastUsedLocked() *entry {
	reconsidered := maxReconsidered
	if t.uses != nil {
		reconsidered = len(t.order)
	}
	for range reconsidered {
		first := &t.order[0]
		usedAt := t.usedAt(first.entry)
		if usedAt == first.usedAt {
			break
		}
		first.usedAt = usedAt
		heap.Fix(&t.order, 0)
	}
	return t.order[0].entry
}

// order is a heap of all entries, by when each was used last. Those that were used since it was told are too far to the
// front: the first one that is where it should be is the least recently used.
type order []place //nolint:recvcheck // container/heap wants it so

type place struct {
	usedAt instant
	entry  *entry
}

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].usedAt < o[j].usedAt }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].entry.rank, o[j].entry.rank = i, j
}

// Push implements [heap.Interface].
func (o *order) Push(x any) {
	e, _ := x.(*entry)
	e.rank = len(*o)
	*o = append(*o, place{instant(e.usedAt.Load()), e})
}

// Pop implements [heap.Interface].
func (o *order) Pop() any {
	last := len(*o) - 1
	e := (*o)[last].entry
	(*o)[last] = place{} // for the garbage collector
	*o = (*o)[:last]
	return e
}
