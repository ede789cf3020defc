package nearcache

import (
	"context"
	"slices"
)

// call is a question to the source about one id, or a write of it, from before it is sent until its end. What becomes
// known about the id meanwhile decides whether the result may be kept. Guarded by Cache.mu.
type call struct {
	id        string
	startedAt instant // before it was sent
	epoch     uint64  // of the lease, before it was sent

	revoked       bool   // the result is not kept, whatever it is
	knownRevision uint64 // the value has reached this revision: an older result is not kept

	cancel context.CancelFunc // for Close; nil for a write, which has its caller's context
}

func (k *call) mayKeep(revision uint64) bool { return !k.revoked && revision >= k.knownRevision }

// beginLocked reads the time and the epoch before the call is sent. Read afterwards, this would go wrong:
//  1. The source answers a load.
//  2. The value is changed elsewhere. The event arrives here, or is lost in a gap.
//  3. The clock and the epoch are read: the answer looks newer than the change that it misses.
func (c *Cache[V]) beginLocked(k *call, id string) {
	k.id, k.startedAt, k.epoch = id, c.clock.now(), c.lease.Load().epoch
	c.calls[id] = append(c.calls[id], k)
}

func (c *Cache[V]) endLocked(k *call) {
	others := slices.DeleteFunc(c.calls[k.id], func(other *call) bool { return other == k })
	if len(others) == 0 {
		delete(c.calls, k.id)
	} else {
		c.calls[k.id] = others
	}
}

// flight is a load from the source that any number of callers wait for.
type flight[V any] struct {
	call
	ctx context.Context // of the load; it ends when the flight has landed, or has to

	landed bool // guarded by Cache.mu; the following fields are fixed then
	value  *V
	err    error
	outage bool // the error says nothing about the value
}

// joinLocked returns the flight that a load of id may wait for, or nil.
//
// A flight that is MaxStaleness old is not joined. Its answer may predate a change that this load has to see:
//  1. The source reads the flight's answer, which is then held up on its way.
//  2. The value is changed elsewhere, and MaxStaleness passes. The event is lost.
//  3. A load begins. It must return the change.
//
// After the TTL the value may be gone altogether, and after LoadTimeout the flight has failed.
func (c *Cache[V]) joinLocked(id string) *flight[V] {
	f := c.flights[id]
	joinable := min(c.config.MaxStaleness, c.config.LoadTimeout)
	if c.config.TTL > 0 {
		joinable = min(joinable, c.config.TTL)
	}
	if f == nil || c.clock.now() >= f.startedAt.add(joinable) {
		return nil
	}
	return f
}

// startLocked starts a flight. It keeps the values of the first caller's context, and not its end: others may wait for
// the flight, too.
func (c *Cache[V]) startLocked(ctx context.Context, id string) *flight[V] {
	f := new(flight[V])
	f.ctx, f.cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), c.config.LoadTimeout, ErrTimeout)
	c.beginLocked(&f.call, id)
	c.flights[id] = f
	c.background.Go(func() {
		c.stats.remoteLoads.Add(1)
		value, revision, err := c.config.Load(f.ctx, f.id)
		c.land(f, value, revision, err)
	})
	return f
}

// await returns when the flight has landed, or with an error when the waiter's own context ends. Others go on waiting.
func (c *Cache[V]) await(ctx context.Context, f *flight[V]) error {
	select {
	case <-f.ctx.Done():
		c.land(f, nil, 0, context.Cause(f.ctx)) // in case the source ignores the end of its context
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// land ends a flight, once. Its result is fixed when it returns.
func (c *Cache[V]) land(f *flight[V], value *V, revision uint64, err error) {
	defer f.cancel() // which tells the waiters, after the lock is free again
	unavailable := err != nil && c.unavailable(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.landed {
		return
	}
	f.landed = true
	c.endLocked(&f.call)
	if c.flights[f.id] == f {
		delete(c.flights, f.id)
	}
	f.value, f.err = value, err
	if !unavailable {
		c.stats.servingStale.Store(false)
	}
	switch {
	case err == nil:
		c.keepLocked(f, revision)
	case !unavailable:
		c.refuteLocked(f)
	case c.closed:
		f.err = ErrClosed
	default: // the copy stays for as long as it may be served
		f.outage = true
		if e := c.table.find(f.id); e != nil {
			e.failedAt = c.clock.now()
		}
	}
}

// keepLocked makes what a flight brought a copy, unless something newer is known.
func (c *Cache[V]) keepLocked(f *flight[V], revision uint64) {
	if !f.mayKeep(revision) {
		c.stats.droppedFills.Add(1)
		return
	}
	c.putLocked(&f.call, f.value, revision)
}

// refuteLocked removes the copy when the source has answered that the value is not there any more, or not readable.
// That the copy's own call was sent later proves nothing: the source may have executed the two in the other order.
func (c *Cache[V]) refuteLocked(f *flight[V]) {
	if !f.revoked { // otherwise the copy may be of a write that came after the answer
		c.table.removeLocked(f.id)
	}
}
