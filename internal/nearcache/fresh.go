package nearcache

import "context"

// FetchFresh asks the source now, whatever copy there is, and renews the copy with the answer. It is a load like those
// of [Cache.Fetch] in all but two things: no copy answers it, not even in an outage, and it joins no flight that was
// sent before it began. The errors are those of Fetch.
//
// It joins no such flight, however young, because the answer may have been read before a change that this caller knows
// to be acknowledged. For example:
//  1. A load is sent. The source reads its answer, which is still on its way.
//  2. The value is changed elsewhere. The change is acknowledged, and its event has not arrived here yet.
//  3. The caller that made the change asks for the value here: FetchFresh begins.
//
// [Cache.Fetch] may wait for the flight of step 1, which is younger than MaxStaleness. FetchFresh has to ask anew. What
// it may join is a flight that waits for its turn: that is sent after FetchFresh began.
func (c *Cache[V]) FetchFresh(ctx context.Context, id string) (*V, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	c.stats.misses.Add(1)
	if !c.gate.admits(c.clock.now()) {
		c.mu.Unlock()
		c.stats.rejected.Add(1)
		return nil, ErrOutage
	}
	f := c.joinLocked(id, anyAge)
	if f == nil || f.sent || c.gate.outage {
		f = c.startLocked(ctx, id)
	}
	f.alone = true // not even a value that was edited past its revision is taken for the copy
	f.waiters++
	c.mu.Unlock()
	if err := c.await(ctx, f); err != nil {
		return nil, err
	}
	if f.err == nil {
		c.noteAnswer(f)
	}
	return f.value, f.err
}
