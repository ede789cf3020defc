package session

import (
	"sync/atomic"
	"time"
)

// entry is one session in the local tier. What is not atomic is fixed once it is there, or guarded by
// RoutingStorage.mu: hits read entries without a lock.
type entry struct {
	// The first cache line is what every hit reads. Hardly anybody writes to it, so processors can share it.
	next      atomic.Pointer[entry] // in the index
	id        string
	session   *Session
	revision  uint64       // of the session as it was fetched
	fetchedAt instant      // read before the remote was called: it can only miss changes later than this
	expiresAt instant      // when the remote forgets the session, at the earliest, unless it is loaded again
	refreshAt atomic.Int64 // an instant; never while a refresh is under way

	// The second one is what hits write to, unless the tier is small, and the rest.
	usedAt   atomic.Int64 // an instant; hits note their uses elsewhere if the tier is small, at slot
	slot     int
	epoch    uint64   // read before the remote was called
	rank     int      // in the order; guarded by RoutingStorage.mu
	failedAt instant  // when the remote could not be asked for it last, or 0; guarded by RoutingStorage.mu
	_        [24]byte // so that entries begin at a cache line
}

// servable is the serving rule: an entry is served while it is alive, and either young enough or covered by the lease.
func (r *RoutingStorage) servable(e *entry, l *lease, now instant) bool {
	return (now < e.fetchedAt.add(r.maxStaleness) || l.covers(e.epoch, now)) && e.alive(now)
}

// alive tells whether an entry is the session that it was when it was fetched, as far as the entry itself can tell.
func (e *entry) alive(now instant) bool {
	if now >= e.expiresAt {
		return false
	}
	if e.session.Revision() != e.revision {
		return false // a caller has stored it in another storage too, which stamped it
	}
	// The absolute expiry is an instant of the wall clock, which may have been set since the session was fetched.
	return e.session.expiresAt.IsZero() || !e.session.Expired(time.Now())
}
