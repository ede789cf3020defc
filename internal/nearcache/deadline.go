package nearcache

import (
	"context"
	"errors"
	"time"
)

// deadlines ends flights whose time is up, with one timer for all of them. A timer for each flight would make a miss
// slower than what the cache does besides: whenever one is set, the Go runtime wakes a thread, which takes a processor
// from the client, or from a source on the same machine. Guarded by Cache.mu.
type deadlines[V any] struct {
	flights map[*flight[V]]struct{} // that have not landed
	timer   *time.Timer
	next    instant // when the timer fires; 0: it is not set
}

// flightContext is the context of a flight: one that can be canceled, and tells of its deadline.
type flightContext struct {
	context.Context //nolint:containedctx // it is one itself

	deadline time.Time
}

func (c flightContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c flightContext) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), ErrTimeout) {
		return context.DeadlineExceeded
	}
	return err
}

// limitLocked gives a flight its context, with the values of its first caller's, and not its end.
func (c *Cache[V]) limitLocked(ctx context.Context, f *flight[V], timeout time.Duration) {
	f.until = c.clock.now().add(timeout)
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f.ctx, f.cancel = flightContext{own, c.clock.time(f.until)}, cancel
	c.deadlines.flights[f] = struct{}{}
	c.wakeForLocked(f.until)
}

// wakeForLocked sees to it that the timer fires at an instant, or earlier.
func (c *Cache[V]) wakeForLocked(at instant) {
	d := &c.deadlines
	if d.next != 0 && d.next <= at {
		return
	}
	d.next = at
	wait := max(0, time.Duration(at-c.clock.now()))
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, c.endOverdue)
	} else {
		d.timer.Reset(wait)
	}
}

// endOverdue ends the contexts of the flights whose time is up. Their waiters learn of it, and let them land.
func (c *Cache[V]) endOverdue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, next := c.clock.now(), never
	for f := range c.deadlines.flights {
		if f.until <= now {
			delete(c.deadlines.flights, f)
			f.cancel(ErrTimeout)
		} else {
			next = min(next, f.until)
		}
	}
	c.deadlines.next = 0
	if next != never {
		c.wakeForLocked(next)
	} else {
		c.dismissLoadersLocked()
	}
}

// fixLocked marks a flight as landed: nothing changes its result any more.
func (c *Cache[V]) fixLocked(f *flight[V]) {
	f.landed.Store(true)
	delete(c.deadlines.flights, f)
}

func (d *deadlines[V]) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
