package session

import (
	"context"
	"errors"
)

// maxBatch is how many entries are renewed by one call. A Redis server is busy with that for some tens of microseconds.
const maxBatch = 64

// init decides how entries are renewed: one by one as they are due, or many at once if the remote can revalidate them.
// Then they wait for company. Not for long, so that they are renewed in time also when the lease is lost meanwhile.
func (q *refresher) init(r *RoutingStorage) {
	q.batch = 1
	if r.revalidator != nil {
		q.batch = maxBatch
		q.gather = min(r.refreshAfter/64, r.maxStaleness/4)
	}
}

// revalidate renews the entries whose sessions have not changed in the remote, with one call for all, and returns the
// others. What becomes known about one of them during the call takes it out of the local tier. So those that are still
// there afterwards were not revoked, and those that are not stay out.
func (r *RoutingStorage) revalidate(due []*entry) (others []*entry) {
	c, due := r.beginRevalidation(due)
	if len(due) == 0 {
		return nil
	}
	unchanged, err := r.askUnchanged(due)

	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, errors.ErrUnsupported) {
		r.refresher.batch, r.refresher.gather = 1, 0
	}
	if err != nil || len(unchanged) != len(due) {
		return due
	}
	r.stats.servingStale.Store(false)
	for i, e := range due {
		switch {
		case !unchanged[i]:
			others = append(others, e)
		case r.local.get(e.id) == e:
			r.stats.refreshes.Add(1)
			c.id = e.id
			r.putLocked(c, e.session, e.revision)
		}
	}
	return others
}

// askUnchanged has the remote asked. Like a load, this takes no longer than it may, whatever the remote does.
func (r *RoutingStorage) askUnchanged(entries []*entry) ([]bool, error) {
	sessions := make([]*Session, len(entries))
	for i, e := range entries {
		sessions[i] = e.session
	}
	ctx, cancel := context.WithTimeoutCause(r.closing, r.loadTimeout, errLoadTimeout)
	defer cancel()
	type answer struct {
		unchanged []bool
		err       error
	}
	answered := make(chan answer, 1)
	r.background.Go(func() {
		unchanged, err := r.revalidator.Revalidate(ctx, sessions)
		answered <- answer{unchanged, err}
	})
	select {
	case a := <-answered:
		return a.unchanged, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// beginRevalidation reads the time and the epoch before the remote is called, as for any call, and leaves out what
// there is no use in renewing.
func (r *RoutingStorage) beginRevalidation(due []*entry) (c *call, renewable []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range due {
		if r.renewableLocked(e) {
			renewable = append(renewable, e)
		}
	}
	return &call{startedAt: r.clock.now(), epoch: r.lease.read().epoch}, renewable
}
