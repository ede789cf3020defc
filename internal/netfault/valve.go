package netfault

import (
	"sync"
	"sync/atomic"
	"time"
)

// valve is the point that all bytes of one direction pass.
type valve struct {
	mu      sync.Mutex // protects following fields
	fault   Fault
	changed chan struct{} // closed when fault changes

	dropped atomic.Int64 // streams so far that have lost bytes
}

func newValve() *valve { return &valve{changed: make(chan struct{})} }

func (v *valve) set(f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fault = f
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *valve) get() (Fault, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fault, v.changed
}

// wait returns the fault for bytes that arrived at an instant, once they are no longer held and their latency has
// passed. It reports false if done is closed first.
func (v *valve) wait(done <-chan struct{}, arrived time.Time) (Fault, bool) {
	for {
		fault, changed := v.get()
		var passed <-chan time.Time
		if !fault.Hold {
			left := time.Until(arrived.Add(fault.Latency))
			if left <= 0 {
				return fault, true
			}
			passed = time.After(left)
		}
		select {
		case <-passed:
		case <-changed:
		case <-done:
			return Fault{}, false
		}
	}
}
