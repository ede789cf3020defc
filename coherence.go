package session

// putLocked makes what a call brought an entry, unless a call that was sent later has brought the same or newer. The
// revision is the one that the session had in the remote: another storage may have stamped it since.
func (r *RoutingStorage) putLocked(c *call, s *Session, revision uint64) {
	if r.closed {
		return
	}
	now := r.clock.now()
	usedAt := now
	if old := r.local.get(c.id); old != nil {
		if old.fetchedAt > c.startedAt && old.revision >= revision {
			return
		}
		usedAt = r.local.usedAt(old) // to renew it is not to use it
	}
	e := &entry{
		id: c.id, session: s, revision: revision, fetchedAt: c.startedAt, expiresAt: never, epoch: c.epoch,
	}
	if r.ttl > 0 {
		e.expiresAt = c.startedAt.add(r.ttl)
	}
	refreshAfter := r.refreshAfter
	if !r.lease.read().covers(c.epoch, now) {
		refreshAfter = min(refreshAfter, r.maxStaleness/2)
	}
	e.refreshAt.Store(int64(c.startedAt.add(refreshAfter - r.refresher.gather)))
	if r.local.putLocked(e, usedAt) {
		r.stats.evictions.Add(1)
	}
}

// changedLocked is called when it is known that a session has reached a revision. Whatever is older is not served, not
// cached, and not waited for by those who come later.
func (r *RoutingStorage) changedLocked(id string, revision uint64) (dropped bool) {
	if e := r.local.get(id); e != nil && e.revision < revision {
		dropped = r.local.removeLocked(id)
	}
	for _, c := range r.calls[id] {
		c.newer = max(c.newer, revision)
	}
	delete(r.flights, id)
	return dropped
}

// removedLocked is called when a session was removed, or when it is unknown what became of it.
func (r *RoutingStorage) removedLocked(id string) (dropped bool) {
	dropped = r.local.removeLocked(id)
	for _, c := range r.calls[id] {
		c.revoked = true
	}
	delete(r.flights, id)
	return dropped
}
