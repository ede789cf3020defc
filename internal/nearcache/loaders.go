package nearcache

// loaders are goroutines that call the source. They are used again: a fresh one begins with a small stack, a client
// needs a larger one, and growing it took a sixth of the processor time of a miss. They end when no flight was in the
// air at a time that the deadlines' timer has looked. Guarded by Cache.mu.
type loaders struct {
	idle []chan question // of loaders that wait for work
}

// question calls the source, without a lock, and returns what takes the answer in, under the lock.
type question func() (answerLocked func())

// onLoaderLocked has a loader ask a question. There are as many as there were questions at a time lately.
func (c *Cache[V]) onLoaderLocked(q question) {
	c.gate.sent++
	if last := len(c.loaders.idle) - 1; last >= 0 {
		loader := c.loaders.idle[last]
		c.loaders.idle = c.loaders.idle[:last]
		loader <- q
		return
	}
	loader := make(chan question, 1)
	loader <- q
	c.background.Go(func() {
		for q := range loader {
			c.ask(q, loader)
		}
	})
}

// ask asks a question, and makes its loader idle.
func (c *Cache[V]) ask(q question, loader chan question) {
	answerLocked := q()
	c.mu.Lock()
	defer c.mu.Unlock()
	answerLocked()
	c.gate.sent-- // not before the call has returned: a source that ignores its context still does the work
	if c.deadlines.next == 0 || c.closed {
		close(loader) // no timer will dismiss it
	} else {
		c.loaders.idle = append(c.loaders.idle, loader)
	}
	c.sendWaitingLocked()
}

func (c *Cache[V]) dismissLoadersLocked() {
	for _, loader := range c.loaders.idle {
		close(loader)
	}
	c.loaders.idle = nil
}
