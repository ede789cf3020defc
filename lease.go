package session

import (
	"sync/atomic"
	"time"
)

// instant is a reading of the monotonic clock: nanoseconds since the storage was made.
type instant int64

const never = instant(1<<63 - 1)

func (i instant) add(d time.Duration) instant {
	if sum := i + instant(d); sum >= i {
		return sum
	}
	return never
}

// clock reads the monotonic clock, which goes on while the process is stopped and ignores changes of the wall clock.
type clock struct{ start time.Time }

func newClock() clock { return clock{start: time.Now()} }

func (c clock) now() instant { return instant(time.Since(c.start)) }

// at converts an instant that was read elsewhere in this process.
func (c clock) at(t time.Time) instant { return instant(t.Sub(c.start)) }

// lease is the proof of freshness that covers all entries of an epoch: until then, every change that they could miss
// has been delivered as an event. An epoch begins when events begin to flow anew, after some may have been missed.
type lease struct {
	epoch uint64
	until instant
}

// leaseHolder is read by every hit, without a lock, and changed by one goroutine.
type leaseHolder struct{ current atomic.Pointer[lease] }

func (h *leaseHolder) init() { h.current.Store(&lease{}) }

func (h *leaseHolder) epoch() uint64 { return h.current.Load().epoch }

func (h *leaseHolder) covers(epoch uint64, now instant) bool {
	l := h.current.Load()
	return epoch == l.epoch && now < l.until
}
