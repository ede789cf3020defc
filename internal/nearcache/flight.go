package nearcache

import (
	"container/list"
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// call is a question to the source about one id, or a write of it, from before it is sent until its end. What becomes
// known about the id meanwhile decides whether the result may be kept. Guarded by Cache.mu.
type call struct {
	id        string
	startedAt instant // before it was sent
	epoch     uint64  // of the lease, before it was sent

	revoked       bool   // the result is not kept, whatever it is
	knownRevision uint64 // the value has reached this revision: an older result is not kept

	cancel context.CancelCauseFunc // for Close; nil for a write, which has its caller's context
}

func (k *call) mayKeep(revision uint64) bool { return !k.revoked && revision >= k.knownRevision }

// beginLocked reads the time and the epoch before the call is sent. Read afterwards, this would go wrong:
//  1. The source answers a load.
//  2. The value is changed elsewhere. The event arrives here, or is lost in a gap.
//  3. The clock and the epoch are read: the answer looks newer than the change that it misses.
func (c *Cache[V]) beginLocked(k *call, id string) {
	k.id, k.startedAt, k.epoch = id, c.clock.now(), c.lease.Load().epoch
	c.calls.set(id, append(c.calls.get(id), k))
}

func (c *Cache[V]) endLocked(k *call) {
	others := slices.DeleteFunc(c.calls.get(k.id), func(other *call) bool { return other == k })
	if len(others) == 0 {
		c.calls.remove(k.id)
	} else {
		c.calls.set(k.id, others)
	}
}

// flight is a load from the source that any number of callers wait for. It may have to wait for its turn before it is
// sent. All fields but ctx and landed are guarded by Cache.mu until it has landed; the result is fixed then.
type flight[V any] struct {
	call
	ctx   context.Context // of the load; it ends when the flight has landed, or has to
	until instant         // when its time is up

	waiters   int           // a flight without waiters is not sent; if it was sent already, its context ends
	sent      bool          // the source is asked; before that, the flight waits for its turn
	place     *list.Element // among the flights that wait for their turn; nil for one that was sent, or is behind another
	behind    *flight[V]    // the one of the same id that waits until this one has ended, or nil
	ahead     *flight[V]    // the one that this one waits for, or nil
	probe     bool          // finds out whether an outage is over
	renewal   bool          // tells the source of a use: it brings no copy back that has made room for others
	abandoned bool          // the last waiter has gone
	alone     bool          // it is loaded: a call for many was no answer for it, or is none for a waiter
	copy      *entry[V]     // what it asks about while a call for many is sent

	landed   atomic.Bool // written under Cache.mu
	value    *V
	revision uint64
	err      error
	outage   bool // the error says nothing about the value
}

// joinLocked returns the flight that a load of id may wait for, or nil. One that was sent is younger than within.
//
// A flight that was sent MaxStaleness ago is not joined. Its answer may predate a change that this load has to see:
//  1. The source reads the flight's answer, which is then held up on its way.
//  2. The value is changed elsewhere, and MaxStaleness passes. The event is lost.
//  3. A load begins. It must return the change.
//
// After the TTL the value may be gone altogether, and after LoadTimeout the flight has failed. A value's own idle
// lifetime is known only when the flight has landed, see outlived.
//
// With LeaseOnly, its age allows nothing: a flight is joined while the lease covers what it will bring.
func (c *Cache[V]) joinLocked(id string, within time.Duration) *flight[V] {
	f := c.flights.get(id)
	if f == nil || f.ctx.Err() != nil || f.sent && !c.joinable(f, within) {
		return nil
	}
	f.renewal = false
	return f
}

func (c *Cache[V]) joinable(f *flight[V], within time.Duration) bool {
	limit := min(c.config.MaxStaleness, c.config.LoadTimeout)
	limit = min(limit, within)
	if c.config.TTL > 0 {
		limit = min(limit, c.config.TTL)
	}
	now := c.clock.now()
	return now < f.startedAt.add(limit) && (!c.config.LeaseOnly || c.lease.Load().covers(f.epoch, now))
}

// startLocked makes a flight, and sends it or queues it. It keeps the values of the first caller's context, and not its
// end: others may wait for the flight, too.
func (c *Cache[V]) startLocked(ctx context.Context, id string) *flight[V] {
	timeout := c.config.LoadTimeout
	f := &flight[V]{probe: c.gate.outage}
	if f.probe {
		timeout = min(timeout, c.gate.beginProbe())
	}
	f.id = id
	c.limitLocked(ctx, f, timeout)
	last := c.flights.get(id)
	c.flights.set(id, f)
	switch {
	case f.probe:
		context.AfterFunc(f.ctx, func() { c.land(f, context.Cause(f.ctx)) }) // its waiters may all have left
		c.sendLocked(f)
	case c.config.LeaseOnly && last != nil && last.ctx.Err() == nil:
		// Without a lease no flight that was sent is joined. So that each load does not send its own, one flight of an id is
		// sent, and one waits, at a time.
		last.behind, f.ahead = f, last
	default:
		c.admitLocked(f)
	}
	return f
}

// admitLocked sends a flight, or queues it.
func (c *Cache[V]) admitLocked(f *flight[V]) {
	if c.gate.sent < c.config.LoadConcurrency {
		c.sendLocked(f)
	} else {
		c.queueLocked(f)
	}
}

// admitNextLocked lets the flight go that waits behind another one, which has ended.
func (c *Cache[V]) admitNextLocked(f *flight[V]) {
	next := f.behind
	f.behind = nil
	if next != nil {
		next.ahead = nil
	}
	switch {
	case next == nil || next.landed.Load() || next.ctx.Err() != nil:
	case c.gate.outage:
		c.rejectLocked(next, ErrOutage)
		next.cancel(nil)
	default:
		c.admitLocked(next)
	}
}

// sendLocked calls the source for a flight.
func (c *Cache[V]) sendLocked(f *flight[V]) {
	f.sent = true
	c.stats.remoteLoads.Add(1)
	c.beginLocked(&f.call, f.id)
	c.onLoaderLocked(func() func() {
		value, revision, err := c.load(f.ctx, f.id)
		o := c.result(value, revision, err)
		return func() { c.landLocked(f, o) }
	})
}

// await returns when the flight has landed, or with an error when the waiter's own context ends. Others go on waiting.
func (c *Cache[V]) await(ctx context.Context, f *flight[V]) error {
	select {
	case <-f.ctx.Done():
		if !f.landed.Load() {
			c.land(f, context.Cause(f.ctx)) // in case the source ignores the end of its context
		}
		return nil
	case <-ctx.Done():
		c.leave(f)
		return ctx.Err()
	}
}

// leave takes a waiter off a flight. The last one ends it: the answer, should it come all the same, is kept, but the
// source need not go on, and a flight that waits for its turn is not sent.
func (c *Cache[V]) leave(f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	if f.waiters > 0 || f.landed.Load() || f.probe { // a probe goes on, to find the end of the outage
		return
	}
	f.abandoned = true
	f.cancel(nil)
	c.forgetLocked(f)
	if !f.sent {
		c.fixLocked(f)
		c.unqueueLocked(f)
	}
	c.admitNextLocked(f)
}

// forgetLocked makes a flight one that no load joins. If it waited behind another one, that is known again.
func (c *Cache[V]) forgetLocked(f *flight[V]) {
	if c.flights.get(f.id) == f {
		c.flights.remove(f.id)
		if f.ahead != nil {
			c.flights.set(f.id, f.ahead)
		}
	}
	if f.ahead != nil {
		f.ahead.behind, f.ahead = nil, nil
	}
}

// rejectLocked ends a flight that was not sent.
func (c *Cache[V]) rejectLocked(f *flight[V], err error) {
	c.unqueueLocked(f)
	c.forgetLocked(f)
	f.err, f.outage = err, err != ErrClosed //nolint:errorlint // it is one of this package's own, as it is
	c.fixLocked(f)
	c.stats.rejected.Add(1)
}

// result is what the source has answered to a flight.
type result[V any] struct {
	value       *V
	revision    uint64
	err         error
	unavailable bool // the error says nothing about the value
	absent      bool // the error says that there is no value, which is worth remembering
}

func (c *Cache[V]) result(value *V, revision uint64, err error) result[V] {
	o := result[V]{value: value, revision: revision, err: err}
	if err != nil {
		o.unavailable = c.unavailable(err)
		o.absent = !o.unavailable && c.config.MaxAbsent > 0 && c.config.Absent(err)
	}
	return o
}

// land ends a flight that has no answer.
func (c *Cache[V]) land(f *flight[V], err error) {
	o := c.result(nil, 0, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.landLocked(f, o)
}

// landLocked ends a flight, once, and its result is fixed then. The end of the flight's context tells the waiters.
func (c *Cache[V]) landLocked(f *flight[V], o result[V]) {
	defer f.cancel(nil)
	switch {
	case f.landed.Load():
		return
	case !f.sent && c.closed:
		c.rejectLocked(f, ErrClosed)
		return
	case !f.sent: // its time is up
		c.rejectLocked(f, ErrBusy)
		return
	}
	defer c.fixLocked(f)
	defer c.admitNextLocked(f)
	c.forgetLocked(f)
	c.endLocked(&f.call)
	f.value, f.revision, f.err = o.value, o.revision, o.err
	switch {
	case o.err == nil:
		c.answeredLocked(f.startedAt)
		c.keepLocked(f)
	case !o.unavailable:
		c.answeredLocked(f.startedAt)
		if o.absent {
			c.rememberLocked(f, c.table.find(f.id))
		}
		c.refuteLocked(f)
	case c.closed: // which has ended the flight's context
		f.err = ErrClosed
	case f.abandoned: // by its waiters, which says nothing about the source
	default: // the copy stays for as long as it may be served
		f.outage = true
		if e := c.table.find(f.id); e != nil {
			e.failedAt = c.clock.now()
		}
		c.gate.unheardAt = max(c.gate.unheardAt, f.startedAt)
		c.unansweredLocked(f.startedAt, f.probe)
	}
}

// keepLocked makes what a flight brought a copy, unless something newer is known.
func (c *Cache[V]) keepLocked(f *flight[V]) {
	if f.renewal && c.table.find(f.id) == nil {
		return // it has made room for others: to renew is not to use
	}
	if !f.mayKeep(f.revision) {
		c.stats.droppedFills.Add(1)
		return
	}
	c.putLocked(&f.call, f.value, f.revision, f.startedAt)
}

// refuteLocked drops the copy when the source has answered that the value is not there any more, or not readable: even
// a copy whose own call was sent later, as the source may have executed the two in the other order. Dropping costs a
// miss at worst. After a revocation the copy is younger than the removal that the answer saw, and stays.
func (c *Cache[V]) refuteLocked(f *flight[V]) {
	if !f.revoked {
		c.dropLocked(f.id)
	}
}
