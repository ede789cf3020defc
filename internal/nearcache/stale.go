package nearcache

// servableOnError reports whether a copy that is not servable may be served instead of the error of an outage.
func (c *Cache[V]) servableOnError(e *entry[V], now instant) bool {
	staleSince := e.fetchedAt.add(c.young)
	if l := c.lease.Load(); l.epoch == e.epoch {
		staleSince = max(staleSince, l.until)
	}
	return now < staleSince.add(c.config.StaleIfError) && c.alive(e, now)
}

// outageLocked reports whether the source was unavailable for this id less than MaxStaleness ago.
func (c *Cache[V]) outageLocked(e *entry[V], now instant) bool {
	return e.failedAt != 0 && now < e.failedAt.add(c.config.MaxStaleness)
}

// orStale returns the last known state if it may be served instead of the error.
func (c *Cache[V]) orStale(id string, err error) (*V, error) {
	if c.config.StaleIfError == 0 {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, now := c.table.find(id), c.clock.now()
	if e == nil || !c.servableOnError(e, now) {
		return nil, err
	}
	return c.serveStaleLocked(e, now), nil
}

// serveStaleLocked notes the use, so that the source is asked in the background.
func (c *Cache[V]) serveStaleLocked(e *entry[V], now instant) *V {
	c.stats.serveStale(now)
	c.useLocked(e, now)
	return e.value
}
