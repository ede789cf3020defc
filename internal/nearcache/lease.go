package nearcache

import "time"

// servable is the serving rule: a copy is served while it is alive, and either young enough or covered by the lease.
// With LeaseOnly none is young enough.
func (c *Cache[V]) servable(e *entry[V], l *lease, now instant) bool {
	return (now < e.fetchedAt.add(c.young) || l.covers(e.epoch, now)) && c.alive(e, now)
}

// alive reports whether the source can still have the value of an entry, as far as the entry itself can tell.
func (c *Cache[V]) alive(e *entry[V], now instant) bool {
	return now < e.expiresAt && c.config.Current(e.value, e.revision)
}

// lease is the proof of freshness that covers all entries of one epoch: until it ends, every change that they could
// miss has been delivered as an event.
//
// An epoch ends when events begin to flow anew, because earlier ones may have been lost. Entries of earlier epochs need
// not be removed then: the lease no longer covers them, and the next load of each fetches it again. The next epoch
// begins with the first proof, not with the events. What is fetched in between belongs to an epoch that never has a
// lease, for this could happen:
//
//  1. The subscription is made to a replica of the source that is about to be promoted. Events flow, it seems.
//  2. A load fetches a value from the old master.
//  3. The value is changed there. The replica takes that in with the whole data, and so passes no event on.
//  4. The replica is promoted. Its first proof is true from here on, and must not cover what was fetched in step 2.
type lease struct {
	epoch uint64
	until instant
}

func (l *lease) covers(epoch uint64, now instant) bool { return epoch == l.epoch && now < l.until }

// nextEpoch ends the lease, and begins the next epoch without one. Only the watcher calls it, one event at a time.
func (c *Cache[V]) nextEpoch() {
	c.lease.Store(&lease{epoch: c.lease.Load().epoch + 1})
}

// extendLease takes a proof that every change acknowledged before asOf was delivered. A change that was not delivered
// is younger than asOf, so serving without it until asOf + MaxStaleness keeps the bound. Counting from when the proof
// arrived would overshoot by its travel time.
func (c *Cache[V]) extendLease(asOf instant) {
	l := c.lease.Load()
	if until := asOf.add(c.config.MaxStaleness); until > l.until {
		c.lease.Store(&lease{epoch: l.epoch, until: until})
	}
}

// instant is a reading of the monotonic clock, in nanoseconds since the cache was made.
type instant int64

const never = instant(1<<63 - 1)

func (i instant) add(d time.Duration) instant {
	if sum := i + instant(d); sum >= i {
		return sum
	}
	return never
}

// clock reads the monotonic clock. It goes on while the process is stopped, and ignores changes of the wall clock.
type clock struct{ start time.Time }

func newClock() clock { return clock{start: time.Now()} }

func (c clock) now() instant { return instant(time.Since(c.start)) }

// at converts a time that was read elsewhere in this process.
func (c clock) at(t time.Time) instant { return instant(t.Sub(c.start)) }

// time is the inverse of at.
func (c clock) time(i instant) time.Time { return c.start.Add(time.Duration(i)) }
