package nearcache

// changedLocked takes in that a value has reached a revision. Older states are not served, not kept when they arrive,
// and not waited for by later loads.
func (c *Cache[V]) changedLocked(id string, revision uint64) (dropped bool) {
	if e := c.table.find(id); e != nil && e.revision < revision {
		dropped = c.dropLocked(id)
	}
	c.absence.forget(id)
	for _, k := range c.calls.get(id) {
		k.knownRevision = max(k.knownRevision, revision)
	}
	c.joinNoMoreLocked(id)
	return dropped
}

// removedLocked takes in that a value was removed, or that its state is unknown.
func (c *Cache[V]) removedLocked(id string) (dropped bool) {
	dropped = c.dropLocked(id)
	c.absence.forget(id) // a write with an unknown outcome may have created it
	for _, k := range c.calls.get(id) {
		k.revoked = true
	}
	c.joinNoMoreLocked(id)
	return dropped
}

// joinNoMoreLocked keeps later loads from the flight of an id that was sent before something became known.
func (c *Cache[V]) joinNoMoreLocked(id string) {
	if f := c.flights.get(id); f != nil && f.sent {
		c.flights.remove(id)
	}
}

// dropLocked removes a copy. Its uses still count: a write that fails, say, drops the copy of a busy value.
func (c *Cache[V]) dropLocked(id string) bool {
	e := c.table.removeLocked(id)
	if e != nil {
		c.lastUseLocked(e)
	}
	return e != nil
}

// lastUseLocked hands the last use of a copy that has left the table to the record that waits to be told.
func (c *Cache[V]) lastUseLocked(e *entry[V]) {
	if u := c.refresh.pending.get(e.id); u != nil && u.revision == e.revision {
		u.at = max(u.at, instant(e.usedAt.Load()))
	}
}

// putLocked stores a call's result as a copy, unless a call that was sent later, or at the same instant, has brought
// the same or newer. The source keeps the value for its idle lifetime from toldAt. A value that is too large for the
// table has no copy.
func (c *Cache[V]) putLocked(k *call, value *V, revision uint64, toldAt instant) {
	if c.closed {
		return
	}
	c.absence.forget(k.id)
	if old := c.table.find(k.id); old != nil && old.fetchedAt >= k.startedAt && old.epoch >= k.epoch &&
		old.revision >= revision {
		return
	}
	now := c.clock.now()
	e := &entry[V]{
		id: c.config.ID(value), value: value, revision: revision, fetchedAt: k.startedAt, epoch: k.epoch,
		expiresAt: idleEnd(toldAt, c.idle(value)), toldAt: toldAt,
		size: overhead[V]() + int64(c.config.Size(value)),
	}
	if e.size > c.table.largest() {
		c.stats.tooLarge.Add(1)
		c.dropLocked(k.id)
		return
	}
	refreshAfter, linger := c.pace(value)
	if !c.lease.Load().covers(k.epoch, now) {
		refreshAfter = min(refreshAfter, c.config.MaxStaleness/2)
	}
	e.refreshAt.Store(int64(k.startedAt.add(refreshAfter - linger)))
	c.makeRoomLocked(e)
	c.table.putLocked(e, k.startedAt)
}
