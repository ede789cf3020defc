package nearcache

import (
	"container/heap"
	"runtime"
	"time"
)

// Age makes every copy older by d, as if that time had passed here. It is for tests whose source has a clock that they
// move. Calls take no time by that clock, so Age waits for them first.
func (c *Cache[V]) Age(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.refresh.queue { // uses do not linger
		u.due = min(u.due, c.clock.now())
	}
	heap.Init(&c.refresh.queue)
	c.startWorkersLocked()
	for c.calls.len() > 0 || c.refresh.workers > 0 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for _, e := range c.table.entriesLocked() {
		aged := &entry[V]{
			id: e.id, value: e.value, revision: e.revision, epoch: e.epoch,
			fetchedAt: e.fetchedAt - instant(d), expiresAt: e.expiresAt - instant(d), toldAt: e.toldAt - instant(d),
			size: e.size,
		}
		if refreshAt := e.refreshAt.Load(); refreshAt != int64(never) {
			aged.refreshAt.Store(refreshAt - int64(d))
		} else {
			aged.refreshAt.Store(refreshAt)
		}
		c.table.putLocked(aged, c.clock.now())
	}
	for range c.absence.len() { // each goes from the front to the back
		id, a, _ := c.absence.byID.GetOldest()
		c.absence.byID.Add(id, absent{askedAt: a.askedAt - instant(d), epoch: a.epoch})
	}
	for _, u := range c.refresh.pending.byID {
		u.at, u.due, u.notBefore = u.at-instant(d), u.due-instant(d), u.notBefore-instant(d)
	}
	c.armLocked()
}
