package sim

import (
	"slices"
	"time"
)

// connection is one of the pool's that a call waits for.
type connection struct {
	granted chan struct{} // closed when the call has it
	has     bool
	lane    lane
}

// connect lets a call wait for a connection. Calls that begin at the same instant come one after the other.
func (l *link) connect(f *fate, at time.Duration) *connection {
	w := l.world
	c := &connection{granted: make(chan struct{}), lane: callLane + lane(f.lane)}
	w.at(c.lane.from(at+1), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		l.waiting = append(l.waiting, c)
		l.grant()
	})
	return c
}

// grant gives the free connections to the calls that have waited longest. Guarded by world.mu.
func (l *link) grant() {
	for l.connections < l.world.Pool && len(l.waiting) > 0 {
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.connections++
		c.has = true
		l.world.at(c.lane.from(l.world.now()+1), func() { close(c.granted) })
	}
}

// disconnect ends a call, or its wait.
func (l *link) disconnect(c *connection) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if c.has {
		l.connections--
		l.grant()
	} else {
		l.waiting = slices.DeleteFunc(l.waiting, func(other *connection) bool { return other == c })
	}
}
