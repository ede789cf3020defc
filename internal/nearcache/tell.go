package nearcache

import (
	"container/heap"
	"context"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// tell tells the source of uses: by Unchanged, or by a load of each if the source can do no better.
func (c *Cache[V]) tell(batch []*use[V], uses []Use, k *call, timeout time.Duration, probe bool) {
	if c.config.Unchanged == nil || c.noUnchanged.Load() {
		for _, u := range batch {
			c.tellByLoad(u, probe)
		}
		return
	}
	unchanged, err := c.askUnchanged(uses, timeout)
	unsupported := err != nil && errs.Unsupported(err)
	if err != nil && !unsupported {
		c.refreshFailed(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if unsupported {
		c.noUnchangedLocked()
	}
	if err != nil {
		if probe || c.unavailable(err) {
			c.unansweredLocked(k.startedAt, probe)
		}
		for _, u := range batch {
			if !unsupported {
				c.failedLocked(u, err)
			}
			c.putBackLocked(u, len(batch) > 1)
		}
		return
	}
	c.answeredLocked(k.startedAt)
	for i, u := range batch {
		c.toldLocked(u, k, unchanged[i])
	}
	c.worksLocked()
}

func (c *Cache[V]) refreshFailed(err error) {
	if c.config.RefreshFailed != nil && c.closing.Err() == nil {
		c.config.RefreshFailed(err)
	}
}

// failedLocked notes that a use could not be told.
func (c *Cache[V]) failedLocked(u *use[V], err error) {
	if c.closed || c.config.RefreshChanged == nil {
		return
	}
	if !u.failed {
		u.failed = true
		c.refresh.failing++
	}
	c.refresh.works.note(false, err)
}

// notFailedLocked takes a use out of those that could not be told.
func (c *Cache[V]) notFailedLocked(u *use[V]) {
	if u.failed {
		u.failed = false
		c.refresh.failing--
	}
}

// worksLocked takes in that the source was told of uses. Others may still wait, as those on another master do. That
// none waits is no proof by itself: a value that could not be renewed has been forgotten in the end.
func (c *Cache[V]) worksLocked() {
	if c.config.RefreshChanged != nil && c.refresh.failing == 0 && !c.refresh.keepFails {
		c.refresh.works.note(true, nil)
	}
}

// KeepFails takes in why values cannot be renewed that are kept alive without a copy, and not by this cache. It is the
// same news as that uses cannot be told.
func (c *Cache[V]) KeepFails(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.config.RefreshChanged == nil {
		return
	}
	c.refresh.keepFails = true
	c.refresh.works.note(false, err)
}

// KeepWorks takes in that all of these values that were due have been renewed.
func (c *Cache[V]) KeepWorks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh.keepFails = false
	c.worksLocked()
}

// KeepEnds takes in that none is kept alive any more. That is no proof that it would work.
func (c *Cache[V]) KeepEnds() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh.keepFails = false
}

// beginTellingLocked fixes what the source is told, and leaves out the values that are over.
func (c *Cache[V]) beginTellingLocked(due []*use[V], now instant) (batch []*use[V], uses []Use) {
	for _, u := range due {
		u.entry = c.table.find(u.id)
		if u.entry != nil && u.entry.revision != u.revision {
			u.entry = nil
		}
		if u.entry != nil {
			u.at = max(u.at, instant(u.entry.usedAt.Load()))
		}
		u.toldAt, u.toldRevision = u.at, u.revision
		if c.over(u, now) {
			c.endUseLocked(u)
		} else {
			batch = append(batch, u)
			uses = append(uses, Use{ID: u.id, Revision: u.revision, ExpiresAt: u.expiresAt, At: c.clock.time(u.at)})
		}
	}
	return batch, uses
}

// over reports whether there is no value any more whose use could be told.
func (c *Cache[V]) over(u *use[V], now instant) bool {
	if !u.expiresAt.IsZero() && !time.Now().Before(u.expiresAt) {
		return true
	}
	if u.idle == 0 { // not known: worth the trouble for as long as there is a copy
		return u.entry == nil
	}
	return now >= idleEnd(u.at, u.idle)
}

// askUnchanged calls Unchanged, and gives up after the timeout even if the source ignores its context.
func (c *Cache[V]) askUnchanged(uses []Use, timeout time.Duration) ([]bool, error) {
	ctx, cancel := context.WithTimeoutCause(c.closing, timeout, ErrTimeout)
	defer cancel()
	type answer struct {
		unchanged []bool
		err       error
	}
	answered := make(chan answer, 1)
	c.background.Go(func() {
		a := answer{err: errWrongNumber} // if Unchanged ends its goroutine
		defer func() { answered <- a }()
		a.unchanged, a.err = c.unchanged(ctx, uses)
	})
	select {
	case a := <-answered:
		return a.unchanged, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// toldLocked ends a record of which the source has been told. A copy that was not revoked meanwhile is renewed: it is
// still the very entry that it was. A copy that the source does not have any more is dropped.
func (c *Cache[V]) toldLocked(u *use[V], k *call, unchanged bool) {
	if e := u.entry; e != nil && c.table.find(u.id) == e {
		if unchanged && c.config.Current(e.value, e.revision) {
			c.stats.refreshes.Add(1)
			c.putLocked(&call{id: u.id, startedAt: k.startedAt, epoch: k.epoch}, e.value, e.revision, u.toldAt)
		} else {
			c.dropLocked(u.id)
		}
	} else if unchanged {
		c.stats.refreshes.Add(1)
	}
	c.notFailedLocked(u)
	if (unchanged && u.at > u.toldAt || u.revision != u.toldRevision) && !c.closed {
		u.entry, u.due, u.notBefore = nil, c.clock.now().add(u.linger), c.clock.now()
		heap.Push(&c.refresh.queue, u)
		return
	}
	c.endUseLocked(u)
}

// tellByLoad tells of a use by loading the value.
func (c *Cache[V]) tellByLoad(u *use[V], probe bool) {
	c.mu.Lock()
	c.stats.refreshes.Add(1)
	f := &flight[V]{probe: probe, renewal: true, waiters: 1}
	f.id = u.id
	c.limitLocked(context.Background(), f, c.config.LoadTimeout)
	c.flights.set(u.id, f)
	c.sendLocked(f)
	c.mu.Unlock()
	err := c.await(c.closing, f)
	if err == nil && f.err != nil {
		c.refreshFailed(f.err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && f.outage {
		c.failedLocked(u, f.err)
		c.putBackLocked(u, false)
		return
	}
	c.endUseLocked(u)
	if err == nil {
		c.worksLocked()
	}
}

// putBackLocked lets a use wait for its next turn: by itself and at once after it failed together with others.
func (c *Cache[V]) putBackLocked(u *use[V], single bool) {
	now := c.clock.now()
	u.entry = nil
	if c.closed {
		c.endUseLocked(u)
		return
	}
	if single && !u.single {
		u.single = true
		u.due = now
	} else {
		u.due = now.add(u.pause.Next())
	}
	u.notBefore = u.due
	heap.Push(&c.refresh.queue, u)
}

// endUseLocked removes a record that no queue holds. A copy that waited for it becomes due anew.
func (c *Cache[V]) endUseLocked(u *use[V]) {
	c.notFailedLocked(u)
	c.refresh.pending.remove(u.id)
	if e := c.table.find(u.id); e != nil {
		e.refreshAt.CompareAndSwap(int64(never), int64(c.clock.now()))
	}
}
