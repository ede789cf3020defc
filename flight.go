package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// call is a remote call under way for one id, a load or a write. What becomes known about the id meanwhile decides
// whether its result may be cached. Guarded by RoutingStorage.mu.
type call struct {
	id        string
	startedAt instant // before the remote was called
	epoch     uint64  // before the remote was called
	revoked   bool    // the result is not cached, whatever it is
	newer     uint64  // the session is known to have reached this revision: older results are not cached

	cancel context.CancelFunc // for Close; nil for a write, whose context is its caller's
}

func (c *call) mayCache(revision uint64) bool { return !c.revoked && revision >= c.newer }

func (r *RoutingStorage) beginLocked(c *call, id string) {
	// The time and the epoch are read before the remote is called. Read afterwards, this would go wrong:
	//  1. The remote answers a load.
	//  2. The session is changed elsewhere; the event reaches this replica, or is lost in a gap.
	//  3. The clock and the epoch are read: the answer looks newer than the change that it misses.
	c.id, c.startedAt, c.epoch = id, r.clock.now(), r.lease.read().epoch
	r.calls[id] = append(r.calls[id], c)
}

func (r *RoutingStorage) endLocked(c *call) {
	others := slices.DeleteFunc(r.calls[c.id], func(other *call) bool { return other == c })
	if len(others) == 0 {
		delete(r.calls, c.id)
	} else {
		r.calls[c.id] = others
	}
}

// flight is a remote load that any number of callers wait for.
type flight struct {
	call
	ctx context.Context // of the remote call; it ends when the flight has landed, or has to

	landed bool // guarded by RoutingStorage.mu; the following fields are fixed then
	result *Session
	err    error
}

// wait returns the flight's result, or the end of the waiter's own context. The others go on waiting.
func (r *RoutingStorage) wait(ctx context.Context, f *flight) (*Session, error) {
	select {
	case <-f.ctx.Done():
		r.land(f, nil, context.Cause(f.ctx)) // a remote that does not heed its end must not hold up those who wait
	case <-ctx.Done():
		return nil, fail("load", ctx.Err())
	}
	if f.err == nil && f.result.Expired(time.Now()) {
		return nil, fail("load", ErrNotFound)
	}
	return f.result, f.err
}

// joinLocked returns the flight of an id that a load beginning now may wait for, or nil.
//
// An old flight is not joined, it may carry an answer from before a change that this load has to see:
//  1. The flight's answer is read by the remote, and then held up on its way.
//  2. The session is changed elsewhere, and MaxStaleness passes. The event is lost.
//  3. A load begins. It must return the change.
//
// With a TTL shorter than MaxStaleness it is that which has passed, and the session with it. And one that has had its
// time has nothing to wait for.
func (r *RoutingStorage) joinLocked(id string) *flight {
	f := r.flights[id]
	joinable := min(r.maxStaleness, r.loadTimeout)
	if r.ttl > 0 {
		joinable = min(joinable, r.ttl)
	}
	if f == nil || r.clock.now() >= f.startedAt.add(joinable) {
		return nil
	}
	return f
}

// startLocked starts a flight. It does not end with the context of whoever happened to come first, as others may be
// waiting for it; it only keeps the values.
func (r *RoutingStorage) startLocked(ctx context.Context, id string) *flight {
	f := new(flight)
	f.ctx, f.cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), r.loadTimeout, errLoadTimeout)
	r.beginLocked(&f.call, id)
	r.flights[id] = f
	r.background.Go(func() { r.fly(f) })
	return f
}

var errLoadTimeout = fmt.Errorf("the remote did not answer in time: %w", context.DeadlineExceeded)

func (r *RoutingStorage) fly(f *flight) {
	r.stats.remoteLoads.Add(1)
	s, err := r.remote.Load(f.ctx, f.id)
	if err == nil && (s == nil || s.id != f.id) {
		err = failBecause("load", ErrCorrupt, errWrongID, "")
	}
	r.land(f, s, err)
}

// land ends a flight, once. Its result is fixed when it returns.
func (r *RoutingStorage) land(f *flight, s *Session, err error) {
	defer f.cancel() // which tells those who wait, after the lock is free again
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.landed {
		return
	}
	f.landed = true
	r.endLocked(&f.call)
	if r.flights[f.id] == f {
		delete(r.flights, f.id)
	}
	if err != nil {
		f.err = r.failure(context.Background(), "load", f.id, err)
	}
	if !errors.Is(f.err, ErrUnavailable) {
		r.stats.servingStale.Store(false)
	}
	if f.err != nil {
		r.failedLocked(f)
		return
	}
	f.result = s
	if !f.mayCache(s.Revision()) {
		r.stats.droppedFills.Add(1)
		return
	}
	r.putLocked(&f.call, s, s.Revision())
}

// failedLocked decides what a failed flight leaves of the entry that is there.
func (r *RoutingStorage) failedLocked(f *flight) {
	e := r.local.get(f.id)
	if e == nil || errors.Is(f.err, ErrClosed) {
		return
	}
	if errors.Is(f.err, ErrUnavailable) {
		e.failedAt = r.clock.now() // nothing is known: the entry stays for as long as it may be served
		return
	}
	// The remote has answered, and what it has is not this session any more, unless somebody has changed that since. That
	// the entry was asked for later proves nothing: the later question may have been answered first.
	if !f.revoked {
		r.local.removeLocked(f.id)
	}
}
