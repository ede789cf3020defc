package nearcache

import (
	"context"
	"errors"
)

// maxBatch is how many entries are renewed with one call. It keeps a Redis server busy for some tens of microseconds.
const maxBatch = 64

// revalidate renews the entries whose values have not changed in the source, with one call for all, and returns the
// others. An entry that is revoked during the call leaves the table. So an entry that is still there afterwards was not
// revoked, and one that is not there stays out.
func (c *Cache[V]) revalidate(batch []*entry[V]) (others []*entry[V]) {
	k, batch := c.beginRevalidation(batch)
	if len(batch) == 0 {
		return nil
	}
	unchanged, err := c.askUnchanged(batch)

	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, errors.ErrUnsupported) {
		c.refresh.batch, c.refresh.linger = 1, 0
	}
	if err != nil || len(unchanged) != len(batch) {
		return batch
	}
	c.stats.servingStale.Store(false)
	for i, e := range batch {
		switch {
		case !unchanged[i]:
			others = append(others, e)
		case c.table.find(e.id) == e:
			c.stats.refreshes.Add(1)
			k.id = e.id
			c.putLocked(k, e.value, e.revision)
		}
	}
	return others
}

// beginRevalidation reads the time and the epoch before the source is asked, as for every call, and leaves out entries
// that are gone or expired.
func (c *Cache[V]) beginRevalidation(batch []*entry[V]) (k *call, renewable []*entry[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range batch {
		if c.renewableLocked(e) {
			renewable = append(renewable, e)
		}
	}
	return &call{startedAt: c.clock.now(), epoch: c.lease.Load().epoch}, renewable
}

// askUnchanged calls Unchanged, and gives up after LoadTimeout even if the source ignores its context.
func (c *Cache[V]) askUnchanged(entries []*entry[V]) ([]bool, error) {
	values := make([]*V, len(entries))
	for i, e := range entries {
		values[i] = e.value
	}
	ctx, cancel := context.WithTimeoutCause(c.closing, c.config.LoadTimeout, ErrTimeout)
	defer cancel()
	type answer struct {
		unchanged []bool
		err       error
	}
	answered := make(chan answer, 1)
	c.background.Go(func() {
		unchanged, err := c.config.Unchanged(ctx, values)
		answered <- answer{unchanged, err}
	})
	select {
	case a := <-answered:
		return a.unchanged, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
