package nearcache

import (
	"container/list"
	"context"
	"slices"

	"github.com/seed34611480/session/internal/errs"
)

// maxSkipped is how many waiting flights without a copy are passed over in the search for flights with one.
const maxSkipped = 2 * maxBatch

// takeTogetherLocked takes flights that wait for their turn and have a copy that is only not fresh enough. The source
// can tell of many with one call whether the copies are up to date, instead of sending each value anew. That is how a
// replica that has lost its events under load catches up: in a 64th of the calls.
func (c *Cache[V]) takeTogetherLocked() (flights []*flight[V]) {
	if c.refresh.batch == 1 {
		return nil
	}
	now, skipped := c.clock.now(), 0
	var next *list.Element
	for place := c.gate.waiting.Front(); place != nil && len(flights) < maxBatch && skipped < maxSkipped; place = next {
		next = place.Next()
		f, _ := place.Value.(*flight[V])
		e := c.table.find(f.id)
		if f.alone || e == nil || !c.alive(e, now) || f.ctx.Err() != nil {
			skipped++
			continue
		}
		f.copy = e
		flights = append(flights, f)
	}
	return flights
}

// sendTogetherLocked asks for the copies of several flights with one call. Flights for which this was no answer go back
// to the front of the queue, to be loaded.
func (c *Cache[V]) sendTogetherLocked(flights []*flight[V]) {
	c.stats.remoteLoads.Add(1)
	uses := make([]Use, len(flights))
	for i, f := range flights {
		c.unqueueLocked(f)
		f.sent = true
		c.beginLocked(&f.call, f.id)
		f.alone = true
		e := f.copy
		uses[i] = Use{
			ID: f.id, Revision: e.revision, ExpiresAt: c.config.ExpiresAt(e.value), At: c.clock.time(f.startedAt),
		}
	}
	sentAt := flights[0].startedAt
	c.onLoaderLocked(func() func() {
		ctx, cancel := context.WithTimeoutCause(c.closing, c.config.LoadTimeout, ErrTimeout)
		defer cancel()
		unchanged, err := c.unchanged(ctx, uses)
		return func() { c.togetherLocked(flights, sentAt, unchanged, err) }
	})
}

// togetherLocked takes in the answer about several flights.
func (c *Cache[V]) togetherLocked(flights []*flight[V], sentAt instant, unchanged []bool, err error) {
	switch {
	case err == nil:
		c.answeredLocked(sentAt)
	case errs.Unsupported(err):
		c.noUnchangedLocked()
	default:
		c.unansweredLocked(sentAt, false)
	}
	for i, f := range slices.Backward(flights) { // those that go back to the front are then in their order
		if err == nil && unchanged[i] && c.config.Current(f.copy.value, f.copy.revision) {
			c.landLocked(f, result[V]{value: f.copy.value, revision: f.copy.revision})
		} else {
			c.queueAgainLocked(f, err == nil)
		}
	}
}

// queueAgainLocked puts a flight that has not landed back, ahead of those that have not been sent yet. A copy that the
// source has called outdated is dropped.
func (c *Cache[V]) queueAgainLocked(f *flight[V], outdated bool) {
	if f.landed.Load() {
		return
	}
	c.endLocked(&f.call)
	f.call = call{id: f.id, cancel: f.cancel}
	if outdated && c.table.find(f.id) == f.copy {
		c.dropLocked(f.id)
	}
	f.copy, f.sent = nil, false
	f.place = c.gate.waiting.PushFront(f)
}
