package nearcache

import (
	"container/heap"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// refresher tells the source when values were used, in the background. That keeps a value alive in the source while its
// hits are answered here, and renews its copy ahead of need. Guarded by Cache.mu.
//
// A use becomes due with the first answer that is given once its copy is RefreshAfter old. It is a record of its own
// from then on: it is told even if the copy makes room, or is dropped, in the meantime. Due uses linger a little, so
// that many can be told with one call. A use that could not be told waits for its next turn, and holds up no worker.
// What is told is the time of the last use, however long ago it is by then: an idle value does not live on because its
// use was told late. A record ends when the source was told, or the value is over.
type refresher[V any] struct {
	limit, workers int
	timer          *time.Timer // starts workers when the next use is due; nil before the first one

	pending idMap[*use[V]] // all records, those that a worker has included
	queue   useQueue[V]    // those that no worker has, by when they are due
	max     int            // records at a time: as many as there may be entries

	failing   int   // records whose last turn has failed
	keepFails bool  // values that are kept alive in another way cannot be renewed either
	works     *news // for the log: whether uses can be told

	batch  int           // how many uses one call tells
	linger time.Duration // how long a use waits for others at most; copies become due that much earlier
}

// use is the last use of a value that the source has to know of. It is small, as it may outlive the copy.
type use[V any] struct {
	id        string
	revision  uint64
	expiresAt time.Time     // of the value itself
	idle      time.Duration // how long the source keeps the value, see Cache.idle
	at        instant

	due       instant       // when a worker takes it
	notBefore instant       // when a worker that has room may take it along
	linger    time.Duration // how long it waits for others
	pause     backoff.Backoff
	single    bool // a call for many has failed: it is told by itself from now on
	failed    bool // its last turn has

	// While a worker has it:
	toldAt       instant // what the source is told; a later use, or one of another revision, is told next
	toldRevision uint64
	entry        *entry[V] // the copy when the worker began; nil for none
}

const (
	// refreshRetry is the pause after a use could not be told. It doubles up to half of MaxStaleness, see pauses.
	refreshRetry = 50 * time.Millisecond
	// maxBatch is how many uses are told with one call. It keeps a Redis server busy for some tens of microseconds.
	maxBatch = 64
	// lingerShare is the part of RefreshAfter for which a use waits for others.
	lingerShare = 64
)

func newRefresher[V any](config *Config[V]) refresher[V] {
	q := refresher[V]{limit: config.RefreshConcurrency, batch: 1}
	if config.Unchanged != nil {
		q.batch = maxBatch
		// Short, so that copies are renewed in time also when the lease is lost meanwhile.
		q.linger = min(config.RefreshAfter/lingerShare, config.MaxStaleness/4)
	}
	return q
}

// refreshSoon queues the use of a copy that is due, once per due time.
func (c *Cache[V]) refreshSoon(e *entry[V], now instant) {
	if due := e.refreshAt.Load(); now < instant(due) || !e.refreshAt.CompareAndSwap(due, int64(never)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteDueLocked(e, now)
}

// useLocked is for answers that are given while holding the lock.
func (c *Cache[V]) useLocked(e *entry[V], now instant) {
	c.table.useLocked(e, now)
	if now >= instant(e.refreshAt.Load()) {
		e.refreshAt.Store(int64(never))
		c.noteDueLocked(e, now)
	}
}

func (c *Cache[V]) noteDueLocked(e *entry[V], now instant) {
	if !c.noteUseLocked(e.id, e.revision, e.value, now) {
		e.refreshAt.Store(int64(now.add(refreshRetry))) // a later hit tries again
	}
}

// noteAnswer notes the use of a flight's answer by one of its waiters, which may have joined it long after it was sent.
func (c *Cache[V]) noteAnswer(f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.now()
	if e := c.table.find(f.id); e != nil && e.revision == f.revision {
		c.useLocked(e, now)
	} else if refreshAfter, linger := c.pace(f.value); now >= f.startedAt.add(refreshAfter-linger) {
		c.noteUseLocked(f.id, f.revision, f.value, now)
	}
}

// noteUseLocked queues a use, or adds it to the record that there is. It returns false when there is no room.
func (c *Cache[V]) noteUseLocked(id string, revision uint64, value *V, now instant) bool {
	q := &c.refresh
	if c.closed {
		return true
	}
	if u := q.pending.get(id); u != nil {
		u.at = max(u.at, now)
		if u.revision < revision {
			u.revision, u.expiresAt, u.idle = revision, c.config.ExpiresAt(value), c.idle(value)
		}
		return true
	}
	if q.pending.len() >= q.max {
		c.stats.droppedUses.Add(1)
		return false
	}
	_, linger := c.pace(value)
	u := &use[V]{
		id: id, revision: revision, expiresAt: c.config.ExpiresAt(value), idle: c.idle(value),
		at: now, due: now.add(linger), notBefore: now, linger: linger,
		pause: c.pauses(c.idle(value)),
	}
	q.pending.set(id, u)
	heap.Push(&q.queue, u)
	c.armLocked()
	return true
}

// armLocked sees to it that workers start when the next use is due.
func (c *Cache[V]) armLocked() {
	q := &c.refresh
	if len(q.queue) == 0 || q.workers >= q.limit || c.closed || c.gate.probing {
		return // the next worker or probe that ends looks again
	}
	at := q.queue[0].due
	if c.gate.outage {
		at = max(at, c.gate.probeAt.add(probeYield))
	}
	wait := max(0, time.Duration(at-c.clock.now()))
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, c.startWorkers)
	} else {
		q.timer.Reset(wait)
	}
}

func (q *refresher[V]) stop() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

func (c *Cache[V]) startWorkers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startWorkersLocked()
}

// startWorkersLocked gives each worker a batch of what is due.
func (c *Cache[V]) startWorkersLocked() {
	q, now := &c.refresh, c.clock.now()
	for !c.closed && q.workers < q.limit && c.gate.admitsUse(now) {
		due := q.take(now)
		if len(due) == 0 {
			break
		}
		batch, uses := c.beginTellingLocked(due, now)
		if len(batch) == 0 {
			continue
		}
		q.workers++
		timeout, probe := c.config.LoadTimeout, c.gate.outage
		if probe {
			timeout = min(timeout, c.gate.beginProbe())
		}
		k := &call{startedAt: now, epoch: c.lease.Load().epoch} // before the source is asked, as for every call
		c.background.Go(func() {
			c.tell(batch, uses, k, timeout, probe)
			c.mu.Lock()
			defer c.mu.Unlock()
			q.workers--
			c.startWorkersLocked()
		})
	}
	c.armLocked()
}

// take returns the use that is due, with others that a call can tell along with it.
func (q *refresher[V]) take(now instant) (batch []*use[V]) {
	if len(q.queue) == 0 || q.queue[0].due > now {
		return nil
	}
	batch = append(batch, q.pop())
	if batch[0].single {
		return batch
	}
	for len(batch) < q.batch && len(q.queue) > 0 && q.queue[0].notBefore <= now && !q.queue[0].single {
		batch = append(batch, q.pop())
	}
	return batch
}

func (q *refresher[V]) pop() *use[V] {
	u, _ := heap.Pop(&q.queue).(*use[V])
	return u
}

// useQueue is a heap of uses by when they are due.
type useQueue[V any] []*use[V]

func (q useQueue[V]) Len() int           { return len(q) }
func (q useQueue[V]) Less(i, j int) bool { return q[i].due < q[j].due }
func (q useQueue[V]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements [heap.Interface].
func (q *useQueue[V]) Push(x any) {
	u, _ := x.(*use[V])
	*q = append(*q, u)
}

// Pop implements [heap.Interface].
func (q *useQueue[V]) Pop() any {
	last := len(*q) - 1
	u := (*q)[last]
	(*q)[last] = nil // for the garbage collector
	*q = (*q)[:last]
	return u
}
