package session

import (
	"sync/atomic"
	"time"
)

// entry is one session in the local tier. All but refreshAt is fixed once it is there.
type entry struct {
	session   *Session
	revision  uint64  // of the session as it was fetched
	fetchedAt instant // read before the remote was called: it can only miss changes later than this
	expiresAt instant // when the remote forgets the session, at the earliest, unless it is loaded again
	epoch     uint64  // read before the remote was called

	refreshAt atomic.Int64 // an instant; never while a refresh is under way
	failures  int          // of refreshes in a row; guarded by RoutingStorage.mu
}

// servable is the serving rule: an entry is served while it is alive, and either young enough or covered by the lease.
func (r *RoutingStorage) servable(e *entry, now instant) bool {
	return (now < e.fetchedAt.add(r.maxStaleness) || r.lease.covers(e.epoch, now)) && r.alive(e, now)
}

// alive tells whether an entry is the session that it was when it was fetched, as far as the entry itself can tell.
func (r *RoutingStorage) alive(e *entry, now instant) bool {
	if now >= e.expiresAt {
		return false
	}
	if e.session.Revision() != e.revision {
		return false // a caller has stored it in another storage too, which stamped it
	}
	// The absolute expiry is an instant of the wall clock, which may have been set since the session was fetched.
	return e.session.expiresAt.IsZero() || !e.session.Expired(time.Now())
}

// putLocked makes what a call brought an entry, unless a call that was sent later has filled it already.
func (r *RoutingStorage) putLocked(c *call, s *Session) {
	if r.closed {
		return
	}
	if old, ok := r.local.Peek(c.id); ok && old.fetchedAt > c.startedAt {
		return
	}
	e := &entry{
		session: s, revision: s.Revision(), fetchedAt: c.startedAt, expiresAt: never, epoch: c.epoch,
	}
	if r.ttl > 0 {
		e.expiresAt = c.startedAt.add(r.ttl)
	}
	refreshAfter := r.refreshAfter
	if !r.lease.covers(c.epoch, r.clock.now()) {
		refreshAfter = min(refreshAfter, r.maxStaleness/2)
	}
	e.refreshAt.Store(int64(c.startedAt.add(refreshAfter)))
	if evicted := r.local.Add(c.id, e); evicted {
		r.stats.evictions.Add(1)
	}
}

// changedLocked is called when it is known that a session has reached a revision. Whatever is older is not served, not
// cached, and not waited for by those who come later.
func (r *RoutingStorage) changedLocked(id string, revision uint64) (dropped bool) {
	if e, ok := r.local.Peek(id); ok && e.revision < revision {
		dropped = r.local.Remove(id)
	}
	for _, c := range r.calls[id] {
		c.newer = max(c.newer, revision)
	}
	delete(r.flights, id)
	return dropped
}

// removedLocked is called when a session was removed, or when it is unknown what became of it.
func (r *RoutingStorage) removedLocked(id string) (dropped bool) {
	dropped = r.local.Remove(id)
	for _, c := range r.calls[id] {
		c.revoked = true
	}
	delete(r.flights, id)
	return dropped
}
