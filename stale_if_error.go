package session

import "time"

// servableOnError tells whether an entry that is not servable may be served instead of the error that the remote could
// not be reached.
func (r *RoutingStorage) servableOnError(e *entry, now instant) bool {
	staleSince := e.fetchedAt.add(r.maxStaleness)
	if l := r.lease.read(); l.epoch == e.epoch {
		staleSince = max(staleSince, l.until)
	}
	return now < staleSince.add(r.staleIfError) && e.alive(now)
}

// outage tells whether the remote could not be asked for a session just now. Guarded by RoutingStorage.mu.
func (r *RoutingStorage) outage(e *entry, now instant) bool {
	return e.failedAt != 0 && now < e.failedAt.add(r.maxStaleness)
}

// serveStale serves an entry during an outage, and has the remote asked again in the background.
func (r *RoutingStorage) serveStale(e *entry) *Session {
	r.stats.stale.Add(1)
	r.stats.servingStale.Store(true)
	if due := e.refreshAt.Load(); due != int64(never) {
		r.refresh(e, due)
	}
	return e.session
}

// orStale returns the last known state of a session if it may be served instead of the error.
func (r *RoutingStorage) orStale(id string, err error) (*Session, error) {
	if r.staleIfError == 0 {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.local.get(id)
	if e == nil || !r.servableOnError(e, r.clock.now()) {
		return nil, err
	}
	r.stats.stale.Add(1)
	r.stats.servingStale.Store(true)
	return e.session, nil
}

// WithStaleIfError allows a session's last known state to be served while the remote cannot be reached, for up to d
// after it could still be served as fresh. Without it, or with 0, that is [ErrUnavailable]: this option gives up the
// bound on stale reads for as long as an outage lasts, a session that was deleted elsewhere goes on for so long on a
// replica that is cut off. It does not extend the life of a session, and the local copy of a session whose write has
// failed is not served. It panics when d is negative.
func WithStaleIfError(d time.Duration) RoutingOption {
	d = positiveOr("WithStaleIfError", d, 0)
	return routingOption(func(r *RoutingStorage) { r.staleIfError = d })
}
