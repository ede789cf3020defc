package nearcache

import "time"

// loaders runs calls to the source on goroutines that are used again. A fresh one begins with a small stack, and a
// client needs a larger one: growing it took a sixth of the processor time of a miss.
type loaders chan func()

// loaderIdle is how long a goroutine waits for its next call before it ends.
const loaderIdle = time.Second

// onLoader runs f on a goroutine that waits for one, or on a new one. There are as many as there were calls at a time
// lately.
func (c *Cache[V]) onLoader(f func()) {
	select {
	case c.loaders <- f:
	default:
		c.background.Go(func() { c.runLoader(f) })
	}
}

func (c *Cache[V]) runLoader(f func()) {
	idle := time.NewTimer(loaderIdle)
	defer idle.Stop()
	for {
		f()
		idle.Reset(loaderIdle)
		select {
		case f = <-c.loaders:
		case <-idle.C:
			return
		case <-c.closing.Done():
			return
		}
	}
}
