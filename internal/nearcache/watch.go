package nearcache

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// Sink takes in what a watcher reports, in order and one call at a time.
type Sink interface {
	Changed(id string, revision uint64) // the value has reached this revision
	Removed(id string)                  // the value was removed
	Gap()                               // reports flow from here on; earlier ones may be missing
	Alive(asOf time.Time)               // all that was acknowledged before asOf, and after the Gap, has been reported
}

// A watch that failed is begun again after a pause, which doubles from the first to the second.
const (
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// watchState is where the watch stands.
type watchState struct {
	begun    atomic.Bool  // the present call of Watch has reported a Gap
	reported atomic.Int32 // what WatchChanged was told last
}

const (
	watchUnreported int32 = iota
	watchFlows
	watchEnded
)

// watchSource keeps the reports flowing until the cache is closed. While they do not, copies are bounded by their age.
func (c *Cache[V]) watchSource() {
	pause := backoff.Backoff{First: minWatchPause, Most: maxWatchPause}
	for {
		c.watch.begun.Store(false)
		err := c.config.Watch(c.closing, c.config.MaxStaleness/4, sink[V]{c})
		if c.closing.Err() != nil {
			return
		}
		if flowed := c.reportWatch(watchEnded, err); flowed {
			pause.Reset()
		}
		if errors.Is(err, errors.ErrUnsupported) || pause.Wait(c.closing) != nil {
			return
		}
	}
}

// reportWatch calls WatchChanged once for each change, and returns whether reports were flowing before: an outage of an
// hour is two calls.
func (c *Cache[V]) reportWatch(state int32, err error) (flowed bool) {
	previous := c.watch.reported.Swap(state)
	if previous != state && c.config.WatchChanged != nil {
		c.config.WatchChanged(state == watchFlows, err)
	}
	return previous == watchFlows
}

// sink is the cache as its watcher sees it.
type sink[V any] struct{ *Cache[V] }

func (s sink[V]) Changed(id string, revision uint64) {
	s.mu.Lock()
	dropped := s.changedLocked(id, revision)
	s.mu.Unlock()
	s.stats.event(dropped)
}

func (s sink[V]) Removed(id string) {
	s.mu.Lock()
	dropped := s.removedLocked(id)
	s.mu.Unlock()
	s.stats.event(dropped)
}

func (s sink[V]) Gap() {
	s.stats.gaps.Add(1)
	s.beginEpoch()
	s.watch.begun.Store(true)
}

func (s sink[V]) Alive(asOf time.Time) {
	if !s.watch.begun.Load() {
		return // a watcher that has not said from where on it reports proves nothing
	}
	// A proof dated in the future is a bug in the watcher: clamp it to now.
	proven := min(s.clock.at(asOf), s.clock.now())
	s.extendLease(proven)
	s.stats.provenAt.Store(int64(proven))
	s.reportWatch(watchFlows, nil)
}
