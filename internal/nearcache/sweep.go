package nearcache

import "time"

// sweepTurn is how many chains of the index a sweep looks at before others have their turn.
const sweepTurn = 1024

// Swept takes in that the source may have removed the values that it knew no use of since an instant. No copy of one of
// these is left when it returns, and none comes back. Call it after the source has answered, or failed to.
//
// A copy that the source was told of at the instant or later is not among them, and stays. So is the result of a call
// that was sent then: the source got it later than that. Results of earlier calls are not kept, for example:
//  1. A load is sent. The source reads its answer, which is still on its way.
//  2. The source removes the value, which was not used since the instant. That may be later than step 1, or in the
//     future.
//  3. The sweep has ended here. The answer arrives, and would be kept.
//
// While the sweep goes on, a renewed copy may come in the place of one that it has not looked at yet. The source was
// told of a use then, and still had the value.
func (c *Cache[V]) Swept(before time.Time) {
	limit := c.clock.at(before)
	c.forbid(func(k *call) bool { return k.startedAt < limit })
	c.sweep(func(e *entry[V]) bool { return e.toldAt < limit })
}

// Forgotten takes in that the source may have removed all values that match, for example those of one owner. No such
// copy is left when it returns, and none comes back. Call it after the source has answered, or failed to. match runs
// under a lock, and must not call the cache.
//
// No result of a call that was sent before is kept, as it is not known yet what it will bring:
//  1. A load is sent. The source reads its answer, a value that matches, which is still on its way.
//  2. The source removes the values that match.
//  3. Forgotten has returned here. The answer arrives, and would be kept.
//
// A copy matches by what it says itself. One that missed a change since, so that it should match and does not, or the
// other way around, is bounded like any other stale copy.
func (c *Cache[V]) Forgotten(match func(value *V) bool) {
	c.forbid(func(*call) bool { return true })
	c.sweep(func(e *entry[V]) bool { return match(e.value) })
}

// forbid keeps the results of some calls that have not ended from becoming copies, and later loads from their flights.
func (c *Cache[V]) forbid(some func(k *call) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, calls := range c.calls.byID {
		for _, k := range calls {
			if some(k) {
				k.revoked = true
				c.joinNoMoreLocked(id)
			}
		}
	}
}

// sweep drops some copies.
func (c *Cache[V]) sweep(some func(e *entry[V]) bool) {
	for first := 0; first < len(c.table.index); first += sweepTurn {
		c.sweepChains(first, min(first+sweepTurn, len(c.table.index)), some)
	}
}

func (c *Cache[V]) sweepChains(first, end int, some func(e *entry[V]) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := first; i < end; i++ {
		for e := c.table.index[i].Load(); e != nil; e = e.next.Load() {
			if some(e) {
				c.dropLocked(e.id)
			}
		}
	}
}
