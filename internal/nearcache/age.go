package nearcache

import (
	"runtime"
	"time"
)

// Age makes every copy older by d, as if that time had passed here. It is for tests whose source has a clock that they
// move. Calls take no time by that clock, so Age waits for them first.
func (c *Cache[V]) Age(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.calls) > 0 || c.refresh.workers > 0 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for _, e := range c.table.entriesLocked() {
		aged := &entry[V]{
			id: e.id, value: e.value, revision: e.revision, epoch: e.epoch,
			fetchedAt: e.fetchedAt - instant(d), expiresAt: e.expiresAt - instant(d),
		}
		aged.refreshAt.Store(e.refreshAt.Load() - int64(d))
		c.table.putLocked(aged, c.clock.now())
	}
}
