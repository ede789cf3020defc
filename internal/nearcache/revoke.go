package nearcache

// changedLocked takes in that a value has reached a revision. Older states are not served, not kept when they arrive,
// and not waited for by later loads.
func (c *Cache[V]) changedLocked(id string, revision uint64) (dropped bool) {
	if e := c.table.find(id); e != nil && e.revision < revision {
		dropped = c.table.removeLocked(id)
	}
	for _, k := range c.calls[id] {
		k.knownRevision = max(k.knownRevision, revision)
	}
	delete(c.flights, id)
	return dropped
}

// removedLocked takes in that a value was removed, or that its state is unknown.
func (c *Cache[V]) removedLocked(id string) (dropped bool) {
	dropped = c.table.removeLocked(id)
	for _, k := range c.calls[id] {
		k.revoked = true
	}
	delete(c.flights, id)
	return dropped
}

// putLocked makes what a call brought a copy, unless a call that was sent later has brought the same or newer.
func (c *Cache[V]) putLocked(k *call, value *V, revision uint64) {
	if c.closed {
		return
	}
	if old := c.table.find(k.id); old != nil && old.fetchedAt > k.startedAt && old.revision >= revision {
		return
	}
	now := c.clock.now()
	e := &entry[V]{
		id: k.id, value: value, revision: revision, fetchedAt: k.startedAt, expiresAt: never, epoch: k.epoch,
	}
	if c.config.TTL > 0 {
		e.expiresAt = k.startedAt.add(c.config.TTL)
	}
	refreshAfter := c.config.RefreshAfter
	if !c.lease.Load().covers(k.epoch, now) {
		refreshAfter = min(refreshAfter, c.config.MaxStaleness/2)
	}
	e.refreshAt.Store(int64(k.startedAt.add(refreshAfter - c.refresh.linger)))
	if c.table.putLocked(e, now) {
		c.stats.evictions.Add(1)
	}
}
