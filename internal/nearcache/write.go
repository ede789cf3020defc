package nearcache

// Write is a change of one value, from before it is sent to the source until its outcome is known. Its end makes the
// copy agree with that outcome, before the caller of the change learns of it. It ends once; further calls do nothing.
type Write[V any] struct {
	call
	cache *Cache[V]
	ended bool // guarded by Cache.mu
}

// Begin notes that a write of id is about to be sent. The error is ErrClosed. End it with Acknowledged or Gone.
func (c *Cache[V]) Begin(id string) (*Write[V], error) {
	w := &Write[V]{cache: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	c.beginLocked(&w.call, id)
	return w, nil
}

// Drop removes the copy before the write is sent, for a write that removes the value. Gone has to follow all the same:
//  1. The copy is dropped.
//  2. A load begins, and the source answers it.
//  3. The value is removed in the source.
//  4. The load's answer arrives, and would be kept.
func (w *Write[V]) Drop() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	w.cache.removedLocked(w.id)
}

// Gone ends a write that removed the value, or whose outcome is unknown: there is no copy afterwards. After
// Acknowledged it does nothing, so it can be deferred.
func (w *Write[V]) Gone() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	w.endLocked(nil, 0)
}

// Acknowledged ends a write that the source has accepted: it has this value now, with this revision. The value must not
// be changed any more. Revision 0 is unknown, like Gone.
func (w *Write[V]) Acknowledged(value *V, revision uint64) {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	w.endLocked(value, revision)
}

func (w *Write[V]) endLocked(value *V, revision uint64) {
	if w.ended {
		return
	}
	w.ended = true
	c := w.cache
	c.endLocked(&w.call)
	if revision == 0 {
		c.removedLocked(w.id)
		return
	}
	c.answeredLocked(w.startedAt)
	c.expectReportLocked(w, revision)
	c.changedLocked(w.id, revision)
	if e := c.table.find(w.id); e != nil && e.revision > revision {
		return // a load that was sent before this write has brought a later one
	}
	// Not if another write or an event overtook this one, for example:
	//  1. A store and a delete of this id reach the source, in this order.
	//  2. The delete returns: the copy is dropped.
	//  3. The store returns. Its value does not exist any more.
	if w.mayKeep(revision) {
		c.putLocked(&w.call, value, revision, w.startedAt)
	}
}
