package nearcache

import (
	"context"
	"slices"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// refreshRetry is the pause after a failed refresh. It doubles up to half of MaxStaleness.
const refreshRetry = 50 * time.Millisecond

// refresher renews entries ahead of need, in the background. That is also what keeps values alive in the source while
// their hits are answered here: an entry that is due is renewed even if no other hit comes, as the next one may come
// when it would be too late.
//
// The first entry to become due starts a worker, which lingers so that more entries can share its call. A worker that
// leaves entries in a queue starts the next worker, up to the limit; at the limit, workers take what is queued as they
// finish. An entry that could not be renewed together with others is queued to be loaded by itself, so that a worker is
// held up by one entry at most. Guarded by Cache.mu.
type refresher[V any] struct {
	limit     int // of workers
	workers   int
	lingering bool        // a worker lets more entries join; nothing is taken from due meanwhile
	due       []*entry[V] // to be renewed together; each is queued once
	single    []*entry[V] // to be loaded one by one

	batch  int           // entries that a worker takes at a time
	linger time.Duration // how long a worker waits for more of them; entries become due that much earlier
}

func newRefresher[V any](config *Config[V]) refresher[V] {
	q := refresher[V]{limit: config.RefreshConcurrency, batch: 1}
	if config.Unchanged != nil {
		q.batch = maxBatch
		// Short, so that entries are renewed in time also when the lease is lost meanwhile.
		q.linger = min(config.RefreshAfter/64, config.MaxStaleness/4)
	}
	return q
}

// queueRefresh queues an entry for renewal, once per due time.
func (c *Cache[V]) queueRefresh(e *entry[V], due int64) {
	if !e.refreshAt.CompareAndSwap(due, int64(never)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueueLocked(e)
}

func (c *Cache[V]) enqueueLocked(e *entry[V]) {
	if c.closed {
		return
	}
	c.refresh.due = append(c.refresh.due, e)
	if len(c.refresh.due) == 1 {
		c.startWorkerLocked(c.refresh.linger)
	}
}

// startWorkerLocked starts a worker, unless there are enough. One that lingers lets more entries join first.
func (c *Cache[V]) startWorkerLocked(linger time.Duration) {
	q := &c.refresh
	if q.workers == q.limit {
		return
	}
	q.workers++
	if linger > 0 {
		q.lingering = true
	}
	c.background.Go(func() {
		if linger > 0 {
			_ = backoff.Sleep(c.closing, linger) // ends early at Close; nothing is renewable then
			c.mu.Lock()
			q.lingering = false
			c.mu.Unlock()
		}
		for batch := c.nextBatch(); len(batch) > 0; batch = c.nextBatch() {
			c.renewAll(batch)
		}
	})
}

// nextBatch returns what a worker has to renew, or nothing: then the worker ends.
func (c *Cache[V]) nextBatch() (batch []*entry[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &c.refresh
	switch {
	case len(q.single) > 0:
		batch = popFront(&q.single, 1)
	case len(q.due) > 0 && !q.lingering:
		batch = popFront(&q.due, q.batch)
	default:
		q.workers--
		return nil
	}
	if len(q.single) > 0 || len(q.due) > 0 && !q.lingering {
		c.startWorkerLocked(0)
	}
	return batch
}

func popFront[E any](queue *[]E, most int) []E {
	n := min(most, len(*queue))
	front := slices.Clone((*queue)[:n])
	clear((*queue)[:n]) // for the garbage collector
	*queue = (*queue)[n:]
	return front
}

// renewAll asks for all entries at once. Those that this was no answer for are queued to be loaded.
func (c *Cache[V]) renewAll(batch []*entry[V]) {
	if len(batch) == 1 {
		c.renew(batch[0])
		return
	}
	others := c.revalidate(batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh.single = append(c.refresh.single, others...)
}

// renew retries until the source answers, or the entry is gone or expired.
func (c *Cache[V]) renew(e *entry[V]) {
	pause := backoff.Backoff{First: min(refreshRetry, c.config.MaxStaleness/2), Most: c.config.MaxStaleness / 2}
	for f := c.startRefresh(e); f != nil; f = c.startRefresh(e) {
		if c.await(c.closing, f) != nil || !f.outage || pause.Wait(c.closing) != nil {
			return
		}
	}
}

// startRefresh returns nil if the entry is gone, or its value is over.
func (c *Cache[V]) startRefresh(e *entry[V]) *flight[V] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renewableLocked(e) {
		return nil
	}
	c.stats.refreshes.Add(1)
	return c.startLocked(context.Background(), e.id)
}

func (c *Cache[V]) renewableLocked(e *entry[V]) bool {
	return !c.closed && c.table.find(e.id) == e && c.alive(e, c.clock.now())
}
