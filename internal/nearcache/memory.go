package nearcache

import "unsafe"

// The memory of the table, in bytes of the heap: what each entry takes, its value included, and the index.

const (
	// orderBytes is the element of an entry in the order, and mapBytes its share of the order's map: between two growths,
	// a map is half full to full.
	orderBytes = 80
	mapBytes   = 40

	// largestShare is the part of MaxBytes that an entry may have. A larger one would make room at the expense of too many
	// others.
	largestShare = 8
)

// overhead is what an entry takes beside its value. The id is a part of the value.
func overhead[V any]() int64 {
	const class = 16 // the allocator rounds up to that
	return int64(unsafe.Sizeof(entry[V]{})+class-1)/class*class + orderBytes + mapBytes
}

// mostEntries returns how many entries a table needs room for: no more than fit.
func mostEntries[V any](maxEntries int, maxBytes int64) int {
	if maxBytes == 0 {
		return maxEntries
	}
	return int(max(1, min(int64(maxEntries), maxBytes/overhead[V]())))
}

// indexSize is what the index takes: a pointer for each chain.
func (t *table[V]) indexSize() int64 { return int64(len(t.index)) * int64(unsafe.Sizeof(t.index[0])) }

// largest is the size of an entry that is still kept.
func (t *table[V]) largest() int64 { return t.maxBytes / largestShare }

// fitsLocked reports whether there is room for an entry, in place of the one of its id if there is one.
func (t *table[V]) fitsLocked(e *entry[V]) bool {
	if old := t.find(e.id); old != nil {
		return t.bytes-old.size+e.size <= t.maxBytes
	}
	return t.order.Len() < t.max && t.bytes+e.size <= t.maxBytes
}

// makeRoomLocked removes the entries that are least recently used until another one fits. When that is the entry of the
// same id, which has grown, the new one takes a new place.
func (c *Cache[V]) makeRoomLocked(e *entry[V]) {
	for !c.table.fitsLocked(e) {
		c.stats.evictions.Add(1)
		c.lastUseLocked(c.table.evictLocked())
	}
}
