package nearcache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/backoff"
	"github.com/seed34611480/session/internal/errs"
)

// Sink takes in what a watcher reports, in order and one call at a time.
type Sink interface {
	Changed(id string, revision uint64) // the value has reached this revision
	Removed(id string)                  // the value was removed
	Gap()                               // reports flow from here on; earlier ones may be missing

	// Alive says that all that was acknowledged before asOf, and after the Gap, has been reported. It returns whether that
	// is true as far as can be told here.
	Alive(asOf time.Time) (believed bool)
}

// A watch that failed is begun again after a pause, which doubles from the first to the second.
const (
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// watchState is where the watch stands.
type watchState struct {
	begunAt atomic.Int64 // an instant: when the present call of Watch has reported a Gap; 0 if it has not
	proven  atomic.Bool  // an epoch has begun since: there was a proof
	flows   *news        // for the log: whether reports do

	// Guarded by Cache.mu.
	end      context.CancelCauseFunc // ends the present call of Watch
	expected *ownWrite               // of which a report has to come
	missed   int                     // reports in a row that did not come
}

// ownWrite is an acknowledged write through this cache, which its watcher has to report like any other.
type ownWrite struct {
	id             string
	revision       uint64
	acknowledgedAt instant
}

var (
	errNotReported = errors.New("nearcache: the watcher proves that nothing is missing, but has not reported a write")
	errWatchEnded  = errors.New("nearcache: the watch ended without an error")
	errLate        = errors.New("nearcache: the watcher does not prove that nothing is missing")
)

// lateProof is how many times MaxStaleness the log waits for a proof. The lease has ended by half of that.
const lateProof = 2

// maxMissed reports of own writes may be missing in a row. Then the watcher is believed no more: a wrapper that changes
// ids, say, has passed on the Watch of the storage that it wraps.
const maxMissed = 3

// heartbeats fall into MaxStaleness: the lease survives until three of them in a row are late.
const heartbeats = 4

// beginWatch keeps the reports flowing, and the log informed, which a watcher must not wait for.
func (c *Cache[V]) beginWatch() {
	c.watch.flows = newNews()
	watching, over := context.WithCancel(c.closing)
	c.background.Go(func() {
		err := c.watchSource()
		over()
		if c.closing.Err() == nil && c.config.WatchOver != nil {
			c.config.WatchOver(err)
		}
	})
	if c.config.WatchChanged != nil {
		c.background.Go(func() { c.watch.flows.announce(watching, 0, nil, c.config.WatchChanged) })
	}
}

// watchSource keeps the reports flowing until the cache is closed. While they do not, copies are bounded by their age.
// The error is the end of the cache, or says why the source cannot be watched.
func (c *Cache[V]) watchSource() error {
	pause := backoff.Backoff{First: minWatchPause, Most: maxWatchPause}
	for {
		begunAt := c.clock.now()
		err := c.watchOnce()
		if closed := c.closing.Err(); closed != nil {
			return closed
		}
		c.mu.Lock()
		distrusted := c.watch.missed >= maxMissed
		if c.config.Away != nil && c.config.Away(err) {
			c.gate.unheardAt = max(c.gate.unheardAt, begunAt)
		}
		c.mu.Unlock()
		if distrusted || errs.Unsupported(err) {
			return err
		}
		if c.watch.flows.works() {
			pause.Reset()
		}
		c.watch.flows.note(false, err)
		if err := pause.Wait(c.closing); err != nil {
			return err
		}
	}
}

// tellOfLateProofs tells the log that reports do not flow, although the watch goes on: it may wait for a source that
// does not answer, or that refuses for now what proves that nothing is missing. No other call need fail for that.
func (c *Cache[V]) tellOfLateProofs(ctx context.Context) {
	begun := c.clock.now()
	for {
		last := max(begun, instant(c.watch.begunAt.Load()), instant(c.stats.provenAt.Load()))
		wait := time.Duration(last.add(lateProof*c.config.MaxStaleness) - c.clock.now())
		if wait <= 0 && ctx.Err() == nil {
			c.watch.flows.note(false, c.whyLate())
			wait = c.config.MaxStaleness
		}
		if backoff.Sleep(ctx, wait) != nil {
			return
		}
	}
}

func (c *Cache[V]) whyLate() error {
	if c.config.WhyLate != nil {
		return c.config.WhyLate()
	}
	return errLate
}

func (c *Cache[V]) watchOnce() (err error) {
	ctx, end := context.WithCancelCause(c.closing)
	defer end(nil)
	c.background.Go(func() { c.tellOfLateProofs(ctx) })
	c.watch.begunAt.Store(0)
	c.mu.Lock()
	c.watch.end, c.watch.expected = end, nil
	c.mu.Unlock()
	defer c.contain(&err)
	err = c.config.Watch(ctx, c.config.MaxStaleness/heartbeats, sink[V]{c})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return errWatchEnded
	}
	return err
}

// expectReportLocked notes one acknowledged write at a time, to see that it is reported. Only one that was sent after
// the Gap has to be. Often the report has overtaken the acknowledgement.
func (c *Cache[V]) expectReportLocked(w *Write[V], revision uint64) {
	begunAt := instant(c.watch.begunAt.Load())
	if c.watch.expected != nil || begunAt == 0 || w.startedAt <= begunAt || w.revoked || w.knownRevision >= revision {
		return
	}
	c.watch.expected = &ownWrite{w.id, revision, c.clock.now()}
}

// reportedLocked takes in that a write, or a removal if the revision is 0, was reported.
func (c *Cache[V]) reportedLocked(id string, revision uint64) {
	if own := c.watch.expected; own != nil && own.id == id && (revision == 0 || revision >= own.revision) {
		c.watch.expected, c.watch.missed = nil, 0
	}
}

// sink is the cache as its watcher sees it.
type sink[V any] struct{ *Cache[V] }

func (s sink[V]) Changed(id string, revision uint64) {
	s.mu.Lock()
	s.reportedLocked(id, revision)
	dropped := s.changedLocked(id, revision)
	s.mu.Unlock()
	s.stats.event(dropped)
}

func (s sink[V]) Removed(id string) {
	s.mu.Lock()
	s.reportedLocked(id, 0)
	dropped := s.removedLocked(id)
	s.mu.Unlock()
	s.stats.event(dropped)
}

func (s sink[V]) Gap() {
	s.stats.gaps.Add(1)
	s.nextEpoch()
	s.watch.proven.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.expected = nil
	s.watch.begunAt.Store(max(1, int64(s.clock.now())))
}

func (s sink[V]) Alive(asOf time.Time) (believed bool) {
	if s.watch.begunAt.Load() == 0 {
		return false // a watcher that has not reported a Gap yet proves nothing
	}
	// A proof dated in the future is a bug in the watcher: clamp it to now.
	proven := min(s.clock.at(asOf), s.clock.now())
	if !s.proves(proven) {
		return false
	}
	if !s.watch.proven.Swap(true) {
		s.nextEpoch()
	}
	s.extendLease(proven)
	s.stats.provenAt.Store(int64(proven))
	s.watch.flows.note(true, nil)
	return true
}

// proves takes in a proof, and reports whether it is true as far as can be told: a write through this cache that was
// acknowledged before it must have been reported.
func (s sink[V]) proves(proven instant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heardLocked(proven)
	own := s.watch.expected
	if own == nil || own.acknowledgedAt >= proven {
		return true
	}
	s.watch.expected = nil
	s.watch.missed++
	s.watch.begunAt.Store(0)
	s.nextEpoch()
	s.watch.end(errNotReported)
	return false
}
