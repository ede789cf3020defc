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
	c.mu.Lock()
	for id, calls := range c.calls.byID {
		for _, k := range calls {
			if k.startedAt < limit {
				k.revoked = true
				c.joinNoMoreLocked(id)
			}
		}
	}
	c.mu.Unlock()
	for first := 0; first < len(c.table.index); first += sweepTurn {
		c.sweepChains(first, min(first+sweepTurn, len(c.table.index)), limit)
	}
}

// sweepChains drops the copies of some chains whose last use that the source knows of is before an instant.
func (c *Cache[V]) sweepChains(first, end int, limit instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := first; i < end; i++ {
		for e := c.table.index[i].Load(); e != nil; e = e.next.Load() {
			if e.toldAt < limit {
				c.dropLocked(e.id)
			}
		}
	}
}
