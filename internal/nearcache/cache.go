package nearcache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where values come from, and how old a copy may be. [New] takes it as it is: the caller has checked it.
type Config[V any] struct {
	MaxEntries         int           // copies held at most; positive
	MaxBytes           int64         // what the copies may take of the heap, with all that belongs to them; 0: any number
	TTL                time.Duration // the source forgets a value that it was not asked for that long; 0: unknown
	MaxStaleness       time.Duration // the bound on stale reads; positive
	RefreshAfter       time.Duration // the age at which a hit renews a copy in the background; positive
	LoadConcurrency    int           // calls of Load for waiting callers at a time; positive
	RefreshConcurrency int           // background calls to the source at a time; positive
	LoadTimeout        time.Duration // how long a call of Load or Unchanged may take; positive
	StaleIfError       time.Duration // how long a copy is served beyond MaxStaleness in an outage; 0: not at all
	MaxAbsent          int           // ids remembered at most of which the source has no value; 0: none
	LeaseOnly          bool          // a copy is served only under the lease, not for its age; needs StaleIfError 0

	// Load asks the source for a value and its revision. A later state of an id has a larger revision.
	Load func(ctx context.Context, id string) (value *V, revision uint64, err error)

	// Unchanged tells the source when values were used last. It returns which of them the source still has with that
	// revision; the source keeps those for a TTL from their use. nil, or an error that wraps errors.ErrUnsupported: it is
	// told by Load, one value at a time, and keeps each for a TTL from then.
	Unchanged func(ctx context.Context, uses []Use) ([]bool, error)

	// Watch reports changes to a Sink until the context ends or something fails. It begins with a Gap, and proves about
	// once per heartbeat, with Alive, that no report is missing. nil, or an error that wraps errors.ErrUnsupported:
	// copies are bounded by their age alone.
	Watch func(ctx context.Context, heartbeat time.Duration, to Sink) error

	// Current reports whether a value still says what was loaded at this revision, and has not expired by itself. Every
	// hit calls it.
	Current func(value *V, revision uint64) bool

	// ExpiresAt returns when a value expires by itself; the zero time for never.
	ExpiresAt func(value *V) time.Time

	// ID returns the id that a value has itself. The copy keeps it instead of the caller's, which may be a part of
	// something larger.
	ID func(value *V) string

	// Size returns how many bytes of the heap a value takes, with its id.
	Size func(value *V) int

	// Idle returns a value's own idle lifetime, which is then meant wherever TTL is: 0 for TTL, negative for none. nil: 0
	// for all.
	Idle func(value *V) time.Duration

	// Unavailable reports whether an error says nothing about the value: an outage, not an answer.
	Unavailable func(err error) bool

	// Absent reports whether an error of Load is the source's answer that it has no value. nil is allowed without
	// MaxAbsent.
	Absent func(err error) bool

	// Away reports whether an error of Watch means that the source cannot be reached. nil is allowed.
	Away func(err error) bool

	// WatchOver is called when the source is not watched any more, because it cannot be, or its reports are not believed.
	// nil is allowed.
	WatchOver func(err error)

	// WatchChanged is called when reports begin to flow (err is nil), and when they end for now. RefreshChanged is called
	// when the source cannot be told of uses for a while, and when it has been told of all that were waiting. Both are for
	// the log, and are called seldom if something comes and goes, see news. nil is allowed.
	WatchChanged   func(flows bool, err error)
	RefreshChanged func(works bool, err error)

	// WhyLate says why the watcher, which goes on, proves nothing any more; it is for the log. nil is allowed.
	WhyLate func() error

	// RefreshFailed is called for each background call to the source that has failed. nil is allowed.
	RefreshFailed func(err error)

	// Panicked is called for each panic of the source that was contained. nil is allowed.
	Panicked func(err *PanicError)
}

// Use is the last use of a value here that the source has to know of.
type Use struct {
	ID        string
	Revision  uint64
	ExpiresAt time.Time // of the value itself; the zero time for never
	At        time.Time // with a monotonic reading
}

// Errors of the cache itself. All others are the source's or the caller's context's, as they are.
var (
	ErrClosed  = errors.New("nearcache: closed")
	ErrTimeout = fmt.Errorf("nearcache: no answer in time: %w", context.DeadlineExceeded)
	ErrBusy    = errors.New("nearcache: too many loads wait for the source")
	ErrOutage  = errors.New("nearcache: the source did not answer others just now")
	ErrAbsent  = errors.New("nearcache: the source has no such value, as it has answered before")
)

// Cache holds copies of values. It is safe for concurrent use. Close it.
type Cache[V any] struct {
	config Config[V]
	clock  clock
	young  time.Duration // how long a copy is served without a lease
	table  *table[V]
	lease  atomic.Pointer[lease] // read by every hit; changed by the watcher, one event at a time
	stats  counters
	watch  watchState

	closing    context.Context // ends at Close
	cancel     context.CancelFunc
	background sync.WaitGroup

	noUnchanged atomic.Bool // Unchanged has turned out to be unsupported

	mu        sync.Mutex // protects following fields; nothing waits, and nothing is called out to, while holding it
	closed    bool
	calls     idMap[[]*call]    // every flight and write that was sent and has not ended
	flights   idMap[*flight[V]] // the one that a load may join
	gate      gate
	loaders   loaders
	deadlines deadlines[V]
	refresh   refresher[V]
	absence   absence
}

// New returns an empty cache, which begins to watch the source.
func New[V any](config Config[V]) *Cache[V] {
	c := &Cache[V]{
		config:    config,
		deadlines: deadlines[V]{flights: make(map[*flight[V]]struct{})},
		clock:     newClock(),
		table:     newTable[V](config.MaxEntries, config.MaxBytes),
		refresh:   newRefresher[V](&config),
		absence:   newAbsence(config.MaxAbsent),
	}
	c.refresh.max = c.table.max
	if !config.LeaseOnly {
		c.young = config.MaxStaleness
	}
	c.lease.Store(&lease{})
	c.closing, c.cancel = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	if config.RefreshChanged != nil {
		c.refresh.works = newNews()
		c.background.Go(func() {
			c.refresh.works.announce(c.closing, newsInterval, &condition{works: true}, config.RefreshChanged)
		})
	}
	if config.Watch != nil {
		c.beginWatch()
	}
	return c
}

// Hit returns a copy that may be served now, or nil. It does no I/O, takes no lock, and allocates nothing, except for
// one hit per RefreshAfter and copy, which queues the use of the copy.
func (c *Cache[V]) Hit(id string) *V {
	e, now := c.lookUp(c.lease.Load(), id)
	if e == nil {
		return nil
	}
	c.table.touch(e, now)
	c.stats.hit()
	if now >= instant(e.refreshAt.Load()) {
		c.refreshSoon(e, now)
	}
	return e.value
}

// Peek returns a copy that the lease covers now, or nil. Unlike [Cache.Hit] it is no use of the value: the copy makes
// room as if it had not been looked at, and the source learns nothing. And that a copy is young is not enough, because
// of those who look at what they may have missed:
//  1. A copy is fetched. The value is removed elsewhere, and the report is lost.
//  2. Reports flow anew. A Gap tells that some are missing.
//  3. A caller that follows the reports, too, looks whether the value is still there.
//
// The copy of step 1 may be young then, but belongs to an earlier epoch.
func (c *Cache[V]) Peek(id string) *V {
	l := c.lease.Load()
	e, now := c.lookUp(l, id)
	if e == nil || !l.covers(e.epoch, now) {
		return nil
	}
	return e.value
}

// lookUp reads the clock, and finds an entry that may be served then.
//
// The lease is read before the entry is found. A lease that is read afterwards may owe its extension to an event that
// has removed this very entry:
//  1. The connection for events stalls. A value is changed elsewhere, and MaxStaleness passes.
//  2. A load begins here, and finds the old entry.
//  3. The connection recovers. The event removes the entry, and a proof extends the lease.
//  4. The load reads the lease, which covers the entry that it holds.
//
// The clock is read before the entry is found, too, so that no use is noted that is later than the entry's removal.
func (c *Cache[V]) lookUp(l *lease, id string) (*entry[V], instant) {
	now := c.clock.now()
	e := c.table.find(id)
	if e == nil || !c.servable(e, l, now) {
		return nil, 0
	}
	return e, now
}

// Fetch asks the source, together with others who ask for the same id meanwhile. The error is ErrClosed, ErrTimeout,
// ErrBusy, ErrOutage, ErrAbsent, the end of ctx, or what Config.Load returned.
func (c *Cache[V]) Fetch(ctx context.Context, id string) (*V, error) {
	for within := anyAge; ; {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if value := c.answerLocked(id); value != nil {
			c.mu.Unlock()
			return value, nil
		}
		now := c.clock.now()
		if c.absentLocked(id, now) {
			c.mu.Unlock()
			c.stats.absent.Add(1)
			return nil, ErrAbsent
		}
		c.stats.misses.Add(1)
		if !c.gate.admits(now) {
			c.mu.Unlock()
			c.stats.rejected.Add(1)
			return c.orStale(id, ErrOutage)
		}
		f := c.joinLocked(id, within)
		if f == nil || c.gate.outage {
			f = c.startLocked(ctx, id)
		}
		f.waiters++
		c.mu.Unlock()
		if err := c.await(ctx, f); err != nil {
			return nil, err
		}
		switch {
		case f.outage:
			return c.orStale(id, f.err)
		case f.err != nil:
			return nil, f.err
		case c.outlived(f, now):
			within = c.idle(f.value)
		default:
			c.noteAnswer(f)
			return f.value, nil
		}
	}
}

// answerLocked returns what a load gets without asking the source, or nil. The load has looked without the lock; since
// then a flight may have landed.
func (c *Cache[V]) answerLocked(id string) *V {
	e := c.table.find(id)
	if e == nil {
		return nil
	}
	now := c.clock.now()
	switch {
	case c.servable(e, c.lease.Load(), now):
		c.useLocked(e, now)
		c.stats.hit()
		return e.value
	case c.outageLocked(e, now) && c.servableOnError(e, now):
		c.stats.misses.Add(1)
		return c.serveStaleLocked(e, now)
	case c.alive(e, now):
		c.stats.refused.Add(1)
	}
	return nil
}

// unavailable reports whether an error says nothing about the value.
func (c *Cache[V]) unavailable(err error) bool {
	return errors.Is(err, ErrTimeout) || errors.Is(err, ErrBusy) || errors.As(err, new(*PanicError)) ||
		c.config.Unavailable(err)
}

// Closed reports whether Close was called.
func (c *Cache[V]) Closed() bool { return c.closing.Err() != nil }

// Close stops what the cache has started, and waits for it: for as long as the source needs to notice that its context
// has ended. Afterwards there are no hits, and calls return ErrClosed. Close may be called again.
func (c *Cache[V]) Close() {
	c.mu.Lock()
	c.closed = true
	c.table.purgeLocked() // so that hits need not ask whether the cache is closed
	c.cancel()            // under the lock: a refresh that ends with its context must not start another one
	for _, calls := range c.calls.byID {
		for _, other := range calls {
			if other.cancel != nil {
				other.cancel(nil)
			}
		}
	}
	for _, f := range c.flights.byID { // those that have not been sent
		f.cancel(nil)
	}
	for e := c.gate.waiting.Front(); e != nil; e = e.Next() {
		f, _ := e.Value.(*flight[V])
		f.cancel(nil)
	}
	c.refresh.stop()
	c.deadlines.stop()
	c.dismissLoadersLocked()
	c.absence = absence{}
	c.mu.Unlock()
	c.background.Wait()
}
