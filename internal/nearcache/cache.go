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
	TTL                time.Duration // the source forgets a value that it was not asked for that long; 0: unknown
	MaxStaleness       time.Duration // the bound on stale reads; positive
	RefreshAfter       time.Duration // the age at which a hit renews a copy in the background; positive
	RefreshConcurrency int           // background calls to the source at a time; positive
	LoadTimeout        time.Duration // how long a call of Load or Unchanged may take; positive
	StaleIfError       time.Duration // how long a copy is served beyond MaxStaleness in an outage; 0: not at all

	// Load asks the source for a value and its revision. A later state of an id has a larger revision.
	Load func(ctx context.Context, id string) (value *V, revision uint64, err error)

	// Unchanged asks the source which of the values it still has with the revision they have here, and prolongs those.
	// nil, or an error that is errors.ErrUnsupported: copies are renewed one by one, with Load.
	Unchanged func(ctx context.Context, values []*V) ([]bool, error)

	// Watch reports changes to a Sink until the context ends or something fails. It begins with a Gap, and proves about
	// once per heartbeat, with Alive, that no report is missing. nil, or an error that is errors.ErrUnsupported: copies
	// are bounded by their age alone.
	Watch func(ctx context.Context, heartbeat time.Duration, to Sink) error

	// Current reports whether a value still says what was loaded at this revision, and has not expired by itself. Every
	// hit calls it.
	Current func(value *V, revision uint64) bool

	// Unavailable reports whether an error says nothing about the value: an outage, not an answer.
	Unavailable func(err error) bool

	// WatchChanged is called when reports begin to flow (err is nil), and when they end. For the log.
	WatchChanged func(flows bool, err error)
}

// Errors of the cache itself. All others are the source's or the caller's context's, as they are.
var (
	ErrClosed  = errors.New("nearcache: closed")
	ErrTimeout = fmt.Errorf("nearcache: no answer in time: %w", context.DeadlineExceeded)
)

// Cache holds copies of values. It is safe for concurrent use. Close it.
type Cache[V any] struct {
	config Config[V]
	clock  clock
	table  *table[V]
	lease  atomic.Pointer[lease] // read by every hit; changed by the watcher, one event at a time
	stats  counters
	watch  watchState

	closing    context.Context // ends at Close
	cancel     context.CancelFunc
	background sync.WaitGroup

	mu      sync.Mutex // protects following fields; nothing waits, and nothing is called out to, while holding it
	closed  bool
	calls   map[string][]*call    // by id: every flight and write that has not ended
	flights map[string]*flight[V] // by id: the one that a load may join
	refresh refresher[V]
}

// New returns an empty cache, which begins to watch the source.
func New[V any](config Config[V]) *Cache[V] {
	c := &Cache[V]{
		config:  config,
		clock:   newClock(),
		table:   newTable[V](config.MaxEntries),
		calls:   make(map[string][]*call),
		flights: make(map[string]*flight[V]),
		refresh: newRefresher(&config),
	}
	c.lease.Store(&lease{})
	c.closing, c.cancel = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	if config.Watch != nil {
		c.background.Go(c.watchSource)
	}
	return c
}

// Hit returns a copy that may be served now, or nil. It does no I/O, takes no lock, and allocates nothing; a copy that
// is due is renewed in the background.
func (c *Cache[V]) Hit(id string) *V {
	e, now := c.lookUp(c.lease.Load(), id)
	if e == nil {
		return nil
	}
	c.table.touch(e, now)
	c.stats.hit()
	if due := e.refreshAt.Load(); now >= instant(due) {
		c.queueRefresh(e, due)
	}
	return e.value
}

// lookUp reads the clock, and finds an entry that may be served then.
//
// The lease is read before the entry is found. A lease that is read afterwards may owe its extension to an event that
// has removed this very entry:
//  1. The link for events stalls. A value is changed elsewhere, and MaxStaleness passes.
//  2. A load begins here, and finds the old entry.
//  3. The link recovers. The event removes the entry, and a proof extends the lease.
//  4. The load reads the lease, which covers the entry that it holds.
//
// The clock is read before the entry is found, too: otherwise the use of an entry could be later than its removal.
func (c *Cache[V]) lookUp(l *lease, id string) (*entry[V], instant) {
	now := c.clock.now()
	e := c.table.find(id)
	if e == nil || !c.servable(e, l, now) {
		return nil, 0
	}
	return e, now
}

// Fetch asks the source, together with others who ask for the same id meanwhile. The error is ErrClosed, ErrTimeout,
// the end of ctx, or what Config.Load returned.
func (c *Cache[V]) Fetch(ctx context.Context, id string) (*V, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if value := c.answerLocked(id); value != nil {
		c.mu.Unlock()
		return value, nil
	}
	f := c.joinLocked(id)
	if f == nil {
		f = c.startLocked(ctx, id)
	}
	c.mu.Unlock()
	c.stats.misses.Add(1)
	if err := c.await(ctx, f); err != nil {
		return nil, err
	}
	if f.outage {
		return c.orStale(id, f.err)
	}
	return f.value, f.err
}

// answerLocked returns what a load gets without asking the source, or nil. The load has looked without the lock; since
// then a flight may have landed.
func (c *Cache[V]) answerLocked(id string) *V {
	e := c.table.find(id)
	if e == nil {
		return nil
	}
	now := c.clock.now()
	c.table.touch(e, now)
	switch {
	case c.servable(e, c.lease.Load(), now):
		c.stats.hit()
		return e.value
	case c.outageLocked(e, now) && c.servableOnError(e, now):
		return c.serveStaleLocked(e)
	case c.alive(e, now):
		c.stats.refused.Add(1)
	}
	return nil
}

// unavailable reports whether an error says nothing about the value.
func (c *Cache[V]) unavailable(err error) bool {
	return errors.Is(err, ErrTimeout) || c.config.Unavailable(err)
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
	for _, calls := range c.calls {
		for _, other := range calls {
			if other.cancel != nil {
				other.cancel()
			}
		}
	}
	c.mu.Unlock()
	c.background.Wait()
}
