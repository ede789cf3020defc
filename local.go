package session

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// localTier is the bounded set of entries. What is in it, and what makes room, is for the LRU, under a lock. Hits go
// through an index, without one. They only note when an entry was used; the LRU learns of it before it has to choose.
//
// A lookup in the index may miss an entry that is being replaced. Whoever misses one looks again under the lock.
type localTier struct {
	seed  maphash.Seed
	mask  uint64                  // chooses a chain by the lower bits of a hash
	index []atomic.Pointer[entry] // chains of entries by hash, the latest first; changed under RoutingStorage.mu

	order *simplelru.LRU[string, *entry] // guarded by RoutingStorage.mu
	max   int
	grain instant // uses closer together than this are noted as one
}

// Up to exactEntries the least recently used entry makes room, exactly. Beyond that it is one that was not used since
// it was last considered, and uses are noted by the hundredth of a second.
const (
	exactEntries    = 1024
	coarseGrain     = instant(10 * time.Millisecond)
	maxReconsidered = 16
	maxChainBits    = 22 // longer chains beyond four million entries, instead of memory that may never be used
)

func newLocalTier(maxEntries int) *localTier {
	order, err := simplelru.NewLRU[string, *entry](maxEntries, nil)
	if err != nil {
		panic(err) // only a size <= 0 is refused
	}
	chains := uint64(1) << min(bits.Len(uint(maxEntries-1)), maxChainBits)
	t := &localTier{
		seed:  maphash.MakeSeed(),
		mask:  chains - 1,
		index: make([]atomic.Pointer[entry], chains),
		order: order,
		max:   maxEntries,
	}
	if maxEntries > exactEntries {
		t.grain = coarseGrain
	}
	return t
}

func (t *localTier) chain(hash uint64) *atomic.Pointer[entry] {
	return &t.index[hash&t.mask]
}

// get finds an entry without a lock.
func (t *localTier) get(id string) *entry {
	hash := maphash.String(t.seed, id)
	for e := t.chain(hash).Load(); e != nil; e = e.next.Load() {
		if e.id == id {
			return e
		}
	}
	return nil
}

// touch notes a use.
func (t *localTier) touch(e *entry, now instant) {
	if instant(e.usedAt.Load())+t.grain <= now {
		e.usedAt.Store(int64(now))
	}
}

func (t *localTier) peekLocked(id string) *entry {
	e, _ := t.order.Peek(id)
	return e
}

func (t *localTier) lenLocked() int { return t.order.Len() }

// putLocked adds an entry, in the place of another of its id, and reports whether one had to make room.
func (t *localTier) putLocked(e *entry, now instant) (evicted bool) {
	if !t.removeLocked(e.id) && t.order.Len() == t.max {
		t.removeLocked(t.leastUsedLocked().id)
		evicted = true
	}
	e.hash = maphash.String(t.seed, e.id)
	e.usedAt.Store(int64(now))
	e.orderedAt = now
	t.order.Add(e.id, e)
	head := t.chain(e.hash)
	e.next.Store(head.Load())
	head.Store(e)
	return evicted
}

// removeLocked takes an entry out. Its own link stays: whoever is at it goes on along the chain.
func (t *localTier) removeLocked(id string) bool {
	e, ok := t.order.Peek(id)
	if !ok {
		return false
	}
	t.order.Remove(id)
	link := t.chain(e.hash)
	for link.Load() != e {
		link = &link.Load().next
	}
	link.Store(e.next.Load())
	return true
}

func (t *localTier) purgeLocked() {
	t.order.Purge()
	for i := range t.index {
		t.index[i].Store(nil)
	}
}

// leastUsedLocked chooses the entry that makes room.
func (t *localTier) leastUsedLocked() *entry {
	if t.max <= exactEntries {
		return slices.MinFunc(t.order.Values(), func(a, b *entry) int {
			return cmp.Compare(a.usedAt.Load(), b.usedAt.Load())
		})
	}
	for range maxReconsidered {
		_, oldest, _ := t.order.GetOldest()
		usedAt := instant(oldest.usedAt.Load())
		if usedAt == oldest.orderedAt {
			break
		}
		oldest.orderedAt = usedAt
		t.order.Get(oldest.id) // which makes it the youngest
	}
	_, oldest, _ := t.order.GetOldest()
	return oldest
}
