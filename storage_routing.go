package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// RoutingStorage answers loads from a bounded local tier in front of a remote storage, which all replicas share. It is
// safe for concurrent use; use it for as long as the process lives, and then Close it.
//
// A load that is answered locally sends nothing, waits for nothing, and allocates nothing. All else goes to the remote
// first; see [RoutingStorage.Load] and [RoutingStorage.Store]. The package documentation states what is promised.
type RoutingStorage struct {
	remote  Storage
	creator Creator // nil if the remote is none; likewise taker and revalidator
	taker   Taker

	revalidator Revalidator

	ttl          time.Duration // the remote's idle lifetime; 0 if it is not known
	maxStaleness time.Duration
	refreshAfter time.Duration
	staleIfError time.Duration
	loadTimeout  time.Duration

	logger *slog.Logger

	clock clock
	lease leaseHolder
	local *localTier
	stats counters

	watching atomic.Int32 // a watchState
	begun    atomic.Bool  // the present Watch has reported a Gap

	closing    context.Context // ends at Close
	cancel     context.CancelFunc
	background sync.WaitGroup

	mu      sync.Mutex // protects following fields; nothing waits while holding it
	closed  bool
	flights map[string]*flight // by id, the one that a load may join
	calls   map[string][]*call // by id, all that are under way: flights, joinable or not, and writes

	refresher refresher
}

// NewRoutingStorage returns a storage with at most maxLocalEntries sessions in its local tier. The remote belongs to
// the caller, who closes it after this storage. It panics when remote is nil or maxLocalEntries is not positive.
func NewRoutingStorage(remote Storage, maxLocalEntries int, opts ...RoutingOption) *RoutingStorage {
	if isNil(remote) {
		panic("session: NewRoutingStorage: the remote storage is nil")
	}
	if maxLocalEntries <= 0 {
		panic(fmt.Sprintf("session: NewRoutingStorage: maxLocalEntries %d: must be positive", maxLocalEntries))
	}
	r := &RoutingStorage{
		remote: remote, clock: newClock(),
		maxStaleness: defaultMaxStaleness, loadTimeout: defaultLoadTimeout, logger: slog.Default(),
		refresher: refresher{limit: defaultRefreshConcurrency},
		local:     newLocalTier(maxLocalEntries), flights: make(map[string]*flight), calls: make(map[string][]*call),
	}
	r.creator, _ = remote.(Creator)
	r.taker, _ = remote.(Taker)
	r.revalidator, _ = remote.(Revalidator)
	if expiring, ok := remote.(interface{ TTL() time.Duration }); ok {
		r.ttl = max(0, expiring.TTL())
	}
	for _, opt := range opts {
		opt.applyRouting(r)
	}
	r.refreshAfter = refreshInterval(r.refreshAfter, r.ttl)
	r.refresher.init(r)
	r.lease.init()
	r.closing, r.cancel = context.WithCancel(context.Background())
	if watcher, ok := remote.(Watcher); ok {
		r.background.Go(func() { r.watch(watcher) })
	}
	return r
}

// Load implements [Storage]. A local answer does not look at the context. A remote load is shared by all who ask for
// the same session meanwhile, and limited by [WithLoadTimeout].
func (r *RoutingStorage) Load(ctx context.Context, id string) (*Session, error) {
	e, now := r.hit(r.lease.read(), id)
	if e == nil {
		return r.loadRemote(ctx, id)
	}
	r.local.touch(e, now)
	r.stats.hit()
	if due := e.refreshAt.Load(); now >= instant(due) {
		r.refresh(e, due)
	}
	return e.session, nil
}

// hit reads the clock, and finds an entry that may be served then. In this order, because the other way round the use
// of an entry could be later than its removal. It takes a lease that was read before, because one that is read after
// the entry was found may owe its extension to an event that has removed the entry meanwhile:
//  1. The link for events stalls. A session is changed elsewhere, and MaxStaleness passes.
//  2. A load begins here, and finds the old entry.
//  3. The link recovers. The event removes the entry, and a proof extends the lease.
//  4. The load reads the lease: it covers what it has found.
func (r *RoutingStorage) hit(l *lease, id string) (*entry, instant) {
	now := r.clock.now()
	e := r.local.get(id)
	if e == nil || !r.servable(e, l, now) {
		return nil, 0
	}
	return e, now
}

func (r *RoutingStorage) loadRemote(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "load", id); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, fail("load", ErrClosed)
	}
	if e := r.local.get(id); e != nil {
		now := r.clock.now()
		r.local.touch(e, now)
		switch {
		case r.servable(e, r.lease.read(), now): // a flight has landed since the index was asked
			r.mu.Unlock()
			r.stats.hit()
			return e.session, nil
		case r.outage(e, now) && r.servableOnError(e, now): // there is no use in waiting
			r.mu.Unlock()
			return r.serveStale(e), nil
		case e.alive(now):
			r.stats.refused.Add(1)
		}
	}
	f := r.joinLocked(id)
	if f == nil {
		f = r.startLocked(ctx, id)
	}
	r.mu.Unlock()
	r.stats.misses.Add(1)
	s, err := r.wait(ctx, f)
	if errors.Is(err, ErrUnavailable) {
		return r.orStale(id, err)
	}
	return s, err
}

// Store implements [Storage]. The session is served locally only after the remote has acknowledged it. When Store
// fails, the local copy is dropped, as its outcome may be unknown.
func (r *RoutingStorage) Store(ctx context.Context, s *Session) error {
	return r.write(ctx, "store", s, r.remote.Store)
}

// Create implements [Creator] with the remote's Create, and is [errors.ErrUnsupported] if it has none.
func (r *RoutingStorage) Create(ctx context.Context, s *Session) error {
	if r.creator == nil {
		return fail("create", errors.ErrUnsupported)
	}
	return r.write(ctx, "create", s, r.creator.Create)
}

func (r *RoutingStorage) write(
	ctx context.Context, op string, s *Session, remote func(context.Context, *Session) error,
) error {
	if s == nil {
		return fail(op, ErrInvalidID)
	}
	if err := checkCall(ctx, op, s.id); err != nil {
		return err
	}
	// The remote stamps this copy: the caller's own may be stamped by another Store at the same time.
	own := s.clone()
	c := new(call)
	if err := r.beginWrite(c, op, s.id); err != nil {
		return err
	}
	var stored *Session
	defer func() {
		r.endWrite(c, stored)
		if stored != nil {
			Stamp(s, stored.Revision()) // last: s may be what the local tier had, and is not servable then
		}
	}()
	if err := remote(ctx, own); err != nil {
		return r.failure(ctx, op, s.id, err)
	}
	stored = own
	return nil
}

// Delete implements [Storage]. The local copy is dropped even if the remote cannot be reached.
func (r *RoutingStorage) Delete(ctx context.Context, id string) error {
	return r.remove(ctx, "delete", id, func() error { return r.remote.Delete(ctx, id) })
}

// Take implements [Taker] with the remote's Take, and is [errors.ErrUnsupported] if it has none.
func (r *RoutingStorage) Take(ctx context.Context, id string) (taken *Session, err error) {
	if r.taker == nil {
		return nil, fail("take", errors.ErrUnsupported)
	}
	err = r.remove(ctx, "take", id, func() error {
		taken, err = r.taker.Take(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return taken, nil
}

func (r *RoutingStorage) remove(ctx context.Context, op, id string, remote func() error) error {
	if err := checkCall(ctx, op, id); err != nil {
		return err
	}
	c := new(call)
	if err := r.beginWrite(c, op, id); err != nil {
		return err
	}
	r.drop(id)
	// Once is not enough:
	//  1. The local copy is dropped.
	//  2. A load begins, and the remote answers it.
	//  3. The session is deleted in the remote.
	//  4. The load's answer arrives, and is cached.
	defer r.endWrite(c, nil)
	if err := remote(); err != nil {
		return r.failure(ctx, op, id, err)
	}
	return nil
}

// DeleteExpired implements [Storage] with the remote's. Local copies follow within MaxStaleness.
func (r *RoutingStorage) DeleteExpired(ctx context.Context, before time.Time) error {
	if err := ctx.Err(); err != nil {
		return fail("delete expired", err)
	}
	if r.closing.Err() != nil {
		return fail("delete expired", ErrClosed)
	}
	if err := r.remote.DeleteExpired(ctx, before); err != nil {
		return r.failure(ctx, "delete expired", "", err)
	}
	return nil
}

// Close stops what this storage has started, and waits for it; that takes as long as the remote needs to notice that
// its context has ended. From then on calls return [ErrClosed]. The remote stays open. Close may be called again and
// never fails.
func (r *RoutingStorage) Close() error {
	r.mu.Lock()
	r.closed = true
	r.local.purgeLocked() // so that hits need not ask whether the storage is closed
	r.cancel()            // not before: refreshes that are not waited for any more must not begin others
	for _, calls := range r.calls {
		for _, c := range calls {
			if c.cancel != nil {
				c.cancel()
			}
		}
	}
	r.mu.Unlock()
	r.background.Wait()
	return nil
}

func (r *RoutingStorage) beginWrite(c *call, op, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fail(op, ErrClosed)
	}
	r.beginLocked(c, id)
	return nil
}

// endWrite makes the local tier agree with a write that has ended, before its caller learns of it. stored is what the
// remote has acknowledged, or nil if there is nothing, or if it is unknown what there is.
func (r *RoutingStorage) endWrite(c *call, stored *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked(c)
	if stored == nil || stored.Revision() == 0 {
		r.removedLocked(c.id)
		return
	}
	r.changedLocked(c.id, stored.Revision())
	if e := r.local.get(c.id); e != nil && e.revision > stored.Revision() {
		return // a load that was sent before this write has brought a later one
	}
	// Not if another write got the better of this one while both were under way, for example:
	//  1. A Store and a Delete of this id reach the remote, in this order.
	//  2. The Delete returns: the local copy is dropped.
	//  3. The Store returns. Its session does not exist any more.
	if c.mayCache(stored.Revision()) {
		r.putLocked(c, stored, stored.Revision())
	}
}

func (r *RoutingStorage) drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removedLocked(id)
}

// failure passes on what the remote says in this package's terms. Everything else is an outage.
func (r *RoutingStorage) failure(ctx context.Context, op, id string, err error) error {
	switch {
	case known(err):
		return err
	case errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled):
		return failBecause(op, context.Canceled, err, "")
	case r.closing.Err() != nil:
		return failBecause(op, ErrClosed, err, "")
	}
	return failBecause(op, ErrUnavailable, err, redact(err, id))
}
