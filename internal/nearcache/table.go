package nearcache

import (
	"cmp"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// entry is the copy of one value. Hits read entries without a lock: what is not atomic is fixed once the entry is in
// the table, or guarded by Cache.mu.
type entry[V any] struct {
	// Every hit reads these, and writes to them are rare, so that processors can share the cache line.
	next      atomic.Pointer[entry[V]] // in the chain of the index
	id        string
	value     *V
	revision  uint64
	fetchedAt instant      // read before the source was asked: the copy can miss only changes later than this
	expiresAt instant      // the source keeps the value at least until then
	refreshAt atomic.Int64 // an instant; never while a refresh is queued or sent

	// Hits write to usedAt.
	usedAt   atomic.Int64 // an instant
	placedAt instant      // usedAt as the order knows it; guarded by Cache.mu
	epoch    uint64       // of the lease, read before the source was asked
	failedAt instant      // when the source was last unavailable for this id, 0 for never; guarded by Cache.mu
	toldAt   instant      // the last use that the source knows of, as far as it is known here
	size     int64        // in bytes of the heap, with all that belongs to it
}

// table is the bounded set of entries. It knows nothing of the protocol.
//
// A hit finds its entry in the index without a lock, and notes the use in the entry. The order learns of uses when it
// has to make room.
type table[V any] struct {
	seed  maphash.Seed
	mask  uint64                     // picks a chain by the lower bits of a hash
	index []atomic.Pointer[entry[V]] // chains of entries, the latest first; changed under Cache.mu

	order *simplelru.LRU[string, struct{}] // membership, and the order as of placedAt; guarded by Cache.mu
	max   int
	grain instant // uses closer together than this are noted once

	bytes    int64 // the index and all entries; guarded by Cache.mu
	maxBytes int64
}

const (
	// exactEntries is how large a table may be to evict the least recently used entry exactly. Larger ones give an entry
	// that was used since it was placed a second chance.
	exactEntries = 128
	// coarseGrain keeps hits on a larger table from writing to the same cache line from several processors all the time.
	coarseGrain = instant(10 * time.Millisecond)
	// maxChances bounds the second chances that one eviction gives, when every entry is in use.
	maxChances = 16
	// maxChainBits bounds the memory of the index. Beyond four million entries its chains get longer instead.
	maxChainBits = 22
)

func newTable[V any](maxEntries int, maxBytes int64) *table[V] {
	maxEntries = mostEntries[V](maxEntries, maxBytes)
	order, err := simplelru.NewLRU[string, struct{}](maxEntries, nil)
	if err != nil {
		panic(err) // the size is not positive, which the caller has checked
	}
	chains := uint64(1) << min(bits.Len(uint(maxEntries-1)), maxChainBits)
	t := &table[V]{
		seed:     maphash.MakeSeed(),
		mask:     chains - 1,
		index:    make([]atomic.Pointer[entry[V]], chains),
		order:    order,
		max:      maxEntries,
		maxBytes: cmp.Or(maxBytes, math.MaxInt64),
	}
	t.bytes = t.indexSize()
	if maxEntries > exactEntries {
		t.grain = coarseGrain
	}
	return t
}

func (t *table[V]) chain(id string) *atomic.Pointer[entry[V]] {
	return &t.index[maphash.String(t.seed, id)&t.mask]
}

// find returns an entry, or nil. It needs no lock.
func (t *table[V]) find(id string) *entry[V] {
	for e := t.chain(id).Load(); e != nil; e = e.next.Load() {
		if e.id == id {
			return e
		}
	}
	return nil
}

// touch notes a use. A hit that stalls after it read the clock must not overwrite a later use: its compare-and-swap
// fails then.
func (t *table[V]) touch(e *entry[V], now instant) {
	if usedAt := e.usedAt.Load(); instant(usedAt)+t.grain < now {
		e.usedAt.CompareAndSwap(usedAt, int64(now))
	}
}

// useLocked notes a use, and places it in the order at once. Otherwise each value that a load has just brought would
// look as if it were in use: a large table would give it a second chance, and a small one would sort itself for each.
func (t *table[V]) useLocked(e *entry[V], now instant) {
	if usedAt := e.usedAt.Load(); instant(usedAt) < now && e.usedAt.CompareAndSwap(usedAt, int64(now)) {
		e.placedAt = now
		t.order.Get(e.id)
	}
}

func (t *table[V]) lenLocked() int { return t.order.Len() }

// putLocked adds an entry, for which there is room. An entry that replaces one of the same id keeps its place in the
// order: to renew is not to use.
func (t *table[V]) putLocked(e *entry[V], now instant) {
	old := t.find(e.id)
	if old != nil {
		e.usedAt.Store(old.usedAt.Load())
		e.placedAt = old.placedAt
	} else {
		e.usedAt.Store(int64(now))
		e.placedAt = now
		t.order.Add(e.id, struct{}{})
	}
	head := t.chain(e.id)
	e.next.Store(head.Load())
	head.Store(e) // before the old one goes: a hit finds one of the two
	if old != nil {
		t.unlinkLocked(old)
	}
	t.bytes += e.size
}

// removeLocked returns the entry that was removed, or nil.
func (t *table[V]) removeLocked(id string) *entry[V] {
	e := t.find(id)
	if e != nil {
		t.unlinkLocked(e)
		t.order.Remove(id)
	}
	return e
}

// unlinkLocked takes an entry out of its chain. The entry's own link stays: a hit that is at the entry goes on along
// the chain.
func (t *table[V]) unlinkLocked(e *entry[V]) {
	link := t.chain(e.id)
	for at := link.Load(); at != e; at = link.Load() {
		link = &at.next
	}
	link.Store(e.next.Load())
	t.bytes -= e.size
}

// evictLocked removes the entry that is least recently used: exactly in a small table, about that in a larger one.
func (t *table[V]) evictLocked() *entry[V] {
	for range maxChances {
		id, _, _ := t.order.GetOldest()
		oldest := t.find(id)
		usedAt := instant(oldest.usedAt.Load())
		if usedAt == oldest.placedAt {
			break
		}
		if t.max <= exactEntries {
			t.sortLocked()
			break
		}
		oldest.placedAt = usedAt
		t.order.Get(id) // which makes it the youngest
	}
	id, _, _ := t.order.GetOldest()
	return t.removeLocked(id)
}

// sortLocked makes the order exact again.
func (t *table[V]) sortLocked() {
	entries := t.entriesLocked()
	for _, e := range entries {
		e.placedAt = instant(e.usedAt.Load())
	}
	slices.SortStableFunc(entries, func(a, b *entry[V]) int { return cmp.Compare(a.placedAt, b.placedAt) })
	for _, e := range entries {
		t.order.Get(e.id)
	}
}

// entriesLocked returns all entries, the least recently used first as far as the order knows.
func (t *table[V]) entriesLocked() []*entry[V] {
	entries := make([]*entry[V], 0, t.order.Len())
	for _, id := range t.order.Keys() {
		entries = append(entries, t.find(id))
	}
	return entries
}

// purgeLocked empties the table.
func (t *table[V]) purgeLocked() {
	t.order.Purge()
	for i := range t.index {
		t.index[i].Store(nil)
	}
	t.bytes = t.indexSize()
}
