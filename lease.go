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
// has been delivered as an event. An epoch begins when events begin to flow anew, after some may have been missed. No
// entry has to be dropped then: those of earlier epochs are covered no more, and are fetched again as they are asked
// for.
type lease struct {
	epoch uint64
	until instant
}

func (l *lease) covers(epoch uint64, now instant) bool { return epoch == l.epoch && now < l.until }

// leaseHolder is read by every hit, without a lock, and changed by one event at a time.
type leaseHolder struct{ current atomic.Pointer[lease] }

func (h *leaseHolder) init() { h.current.Store(&lease{}) }

func (h *leaseHolder) read() *lease { return h.current.Load() }

// beginEpoch is for a Gap.
func (h *leaseHolder) beginEpoch() {
	h.current.Store(&lease{epoch: h.read().epoch + 1})
}

// extend is for a proof that every change acknowledged before asOf was delivered. A change that was not is younger than
// asOf, so serving without it until asOf plus the bound keeps the bound. Counted from the arrival of the proof, as one
// might think, it would be too long by the time that the proof was on its way.
func (h *leaseHolder) extend(asOf instant, maxStaleness time.Duration) {
	l := h.read()
	if until := asOf.add(maxStaleness); until > l.until {
		h.current.Store(&lease{epoch: l.epoch, until: until})
	}
}
