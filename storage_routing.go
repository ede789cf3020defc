package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/nearcache"
)

// RoutingStorage answers loads from a bounded local tier in front of a remote storage, which all replicas share: it
// routes a load to either. It is safe for concurrent use; use it for as long as the process lives, and then Close it.
//
// A load that is answered locally sends nothing, waits for nothing, and allocates nothing. All other calls go to the
// remote first; see [RoutingStorage.Load] and [RoutingStorage.Store]. The package documentation states what is
// promised.
type RoutingStorage struct {
	remote Storage

	// What the remote can do beyond the four methods; nil where it cannot.
	creator  Creator
	replacer Replacer
	taker    Taker
	peeker   Peeker
	revoker  Revoker
	lister   Lister

	holder LeaseHolder // nil without fencing

	ttl, maxLifetime time.Duration // the remote's

	cache  *nearcache.Cache[Session] // the local tier, and the protocol that keeps it coherent
	events feed                      // those of the remote, for the callers of Watch
	keeper keeper
	hook   RemoteHook // may be nil

	failedLoads, failedWrites, failedRefreshes failures
	kept                                       atomic.Uint64
}

// NewRoutingStorage returns a storage with at most maxLocalEntries sessions in its local tier; [WithMaxLocalBytes]
// limits their memory. The remote belongs to the caller, who closes it after this storage. It panics when remote is
// nil, or maxLocalEntries is not positive, or remote is a RoutingStorage itself: the staleness of two local tiers adds
// up, and a copy that the first one should have dropped would be kept in the second for as long as events flow.
func NewRoutingStorage(remote Storage, maxLocalEntries int, opts ...RoutingOption) *RoutingStorage {
	if isNil(remote) {
		panic("session: NewRoutingStorage: the remote storage is nil")
	}
	if _, ok := remote.(interface{ hasLocalTier() }); ok {
		panic("session: NewRoutingStorage: the remote storage has a local tier itself: their staleness would add up")
	}
	if maxLocalEntries <= 0 {
		panic(fmt.Sprintf("session: NewRoutingStorage: maxLocalEntries %d: must be positive", maxLocalEntries))
	}
	o := newRoutingOptions(opts)
	rt := inFrontOf(remote)
	rt.hook = o.hook
	log := routingLog{logger: o.logger, maxStaleness: o.maxStaleness, ttl: rt.ttl}
	config := nearcache.Config[Session]{
		MaxEntries:         maxLocalEntries,
		MaxBytes:           o.maxLocalBytes,
		MaxAbsent:          o.rememberedMisses,
		TTL:                rt.ttl,
		MaxStaleness:       o.maxStaleness,
		RefreshAfter:       refreshInterval(o.refreshAfter, rt.ttl),
		LoadConcurrency:    o.loadConcurrency,
		RefreshConcurrency: o.refreshConcurrency,
		LoadTimeout:        o.loadTimeout,
		StaleIfError:       o.staleIfError,
		LeaseOnly:          o.fencing,
		Load:               rt.loadRemote,
		Current:            current,
		ExpiresAt:          (*Session).ExpiresAt,
		Idle:               (*Session).IdleTimeout,
		ID:                 (*Session).ID,
		Size:               (*Session).heapBytes,
		Unavailable:        func(err error) bool { return !isAnswer(err) },
		Absent:             isMissing,
		Away:               isAway,
		WatchChanged:       log.watch,
		RefreshChanged:     log.refreshes,
		RefreshFailed:      rt.refreshFailed,
		Panicked:           log.panicked,
		WhyLate:            rt.whyLate,
		WatchOver: func(err error) {
			rt.watchOver(err)
			log.noWatch(err)
		},
	}
	if revalidator, ok := remote.(Revalidator); ok {
		config.Unchanged = rt.revalidate(revalidator)
	}
	if o.fencing {
		rt.holder = hold(remote, &o)
	}
	if watcher, ok := remote.(Watcher); ok {
		watch := watcher.Watch
		if rt.holder != nil {
			watch = rt.holder.Watch
		}
		config.Watch = func(ctx context.Context, heartbeat time.Duration, to nearcache.Sink) error {
			return inOurTerms("watch", watch(ctx, heartbeat, func(e Event) { rt.report(e, to) }))
		}
	} else {
		rt.noWatcher("is not a Watcher")
		log.noWatch(whyNoWatcher(remote))
	}
	rt.cache = nearcache.New(config)
	return rt
}

// inFrontOf returns a storage without a local tier, which knows what its remote can do.
func inFrontOf(remote Storage) *RoutingStorage {
	rt := &RoutingStorage{remote: remote}
	if expirer, ok := remote.(Expirer); ok {
		rt.ttl = max(0, expirer.TTL())
	}
	if limiter, ok := remote.(Limiter); ok {
		rt.maxLifetime = max(0, limiter.MaxLifetime())
	}
	rt.creator, _ = remote.(Creator)
	rt.replacer, _ = remote.(Replacer)
	rt.taker, _ = remote.(Taker)
	rt.peeker, _ = remote.(Peeker)
	rt.revoker, _ = remote.(Revoker)
	rt.lister, _ = remote.(Lister)
	return rt
}

// hold returns the holder for a storage with fencing.
func hold(remote Storage, o *routingOptions) LeaseHolder {
	fencer, ok := remote.(Fencer)
	switch {
	case !ok:
		panic(fmt.Sprintf("session: NewRoutingStorage: WithFencing: the remote, a %T, is no Fencer", remote))
	case o.staleIfError > 0:
		panic("session: NewRoutingStorage: WithFencing and WithStaleIfError exclude each other: " +
			"what is served in an outage is not final")
	}
	return fencer.Hold(o.maxStaleness)
}

// TTL implements [Expirer]: it is the remote's, or 0 if the remote does not tell it.
func (rt *RoutingStorage) TTL() time.Duration { return rt.ttl }

// MaxLifetime implements [Limiter]. It is the remote's, or 0 if the remote does not tell it.
func (rt *RoutingStorage) MaxLifetime() time.Duration { return rt.maxLifetime }

// Load implements [Storage]. A local answer does not look at the context. A remote load is shared by all who ask for
// the same session meanwhile, and limited by [WithLoadTimeout].
func (rt *RoutingStorage) Load(ctx context.Context, id string) (*Session, error) {
	if s := rt.cache.Hit(id); s != nil {
		return s, nil
	}
	s, err := rt.ask(ctx, "load", id, rt.cache.Fetch)
	return s, rt.failedLoads.count(err)
}

// ask gets a session from the cache, by its Fetch or FetchFresh, and returns the outcome in this package's terms.
func (rt *RoutingStorage) ask(
	ctx context.Context, op, id string, fetch func(context.Context, string) (*Session, error),
) (*Session, error) {
	if err := checkCall(ctx, op, id); err != nil {
		return nil, err
	}
	s, err := fetch(ctx, id)
	switch {
	case err == nil && s.Expired(time.Now()): // while the answer was on its way
		return nil, opErr(op, ErrNotFound)
	case err == nil:
		return s, nil
	case errors.Is(err, nearcache.ErrAbsent):
		return nil, opErr(op, ErrNotFound)
	case errors.Is(err, nearcache.ErrClosed):
		return nil, opErr(op, ErrClosed)
	case errors.Is(err, nearcache.ErrTimeout):
		return nil, opErrBecause(op, ErrUnavailable, errs.Because("the remote did not answer in time", err))
	case errors.Is(err, nearcache.ErrBusy):
		return nil, opErrBecause(op, ErrUnavailable, errs.Because("too many loads wait for the remote", err))
	case errors.Is(err, nearcache.ErrOutage):
		return nil, opErrBecause(op, ErrUnavailable, errs.Because("the remote did not answer others just now", err))
	case errors.As(err, new(*nearcache.PanicError)):
		return nil, panicked(op, err)
	case sentinelOf(err) != nil: // by loadRemote
		return nil, err
	}
	return nil, opErr(op, err) // the end of the caller's context
}

// current reports whether a local copy still is what was loaded.
func current(s *Session, revision uint64) bool {
	if s.Revision() != revision {
		return false // a caller has stored it in another storage too, which stamped it
	}
	// The absolute expiry is an instant of the wall clock, which may have been set since the session was fetched.
	return s.expiresAt.IsZero() || !s.Expired(time.Now())
}

// Store implements [Storage]. The session is served locally only after the remote has acknowledged it. When Store
// fails, the local copy is dropped, as its outcome may be unknown.
func (rt *RoutingStorage) Store(ctx context.Context, s *Session) error {
	return rt.failedWrites.count(rt.write(ctx, "store", s, rt.remote.Store))
}

// Create implements [Creator] with the remote's Create, and is [errors.ErrUnsupported] if it has none.
func (rt *RoutingStorage) Create(ctx context.Context, s *Session) error {
	if rt.creator == nil {
		return rt.lacks("create", "Creator")
	}
	return rt.failedWrites.count(rt.write(ctx, "create", s, rt.creator.Create))
}

// Replace implements [Replacer] with the remote's Replace, and is [errors.ErrUnsupported] if it has none.
func (rt *RoutingStorage) Replace(ctx context.Context, s *Session) error {
	if rt.replacer == nil {
		return rt.lacks("replace", "Replacer")
	}
	return rt.failedWrites.count(rt.write(ctx, "replace", s, rt.replacer.Replace))
}

func (rt *RoutingStorage) write(
	ctx context.Context, op string, s *Session, remote func(context.Context, *Session) error,
) error {
	if err := checkSession(ctx, op, s); err != nil {
		return err
	}
	w, err := rt.cache.Begin(s.id)
	if err != nil {
		return opErr(op, ErrClosed)
	}
	defer w.Gone() // without effect after Acknowledged
	// The remote stamps this copy: the caller's own may be stamped by another Store at the same time. The copy has the end
	// that the remote would give it, so that it is not served here past that.
	own := s.limited(rt.maxLifetime).clone()
	err = rt.call(ctx, op, func(ctx context.Context) error {
		if err := remote(ctx, own); err != nil {
			return rt.remoteError(ctx, op, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.Acknowledged(own, own.Revision())
	Stamp(s, own.Revision()) // last: s may be the pointer in the old copy, which is not servable once it is stamped
	return nil
}

// Delete implements [Storage]. The local copy is dropped even if the remote cannot be reached.
func (rt *RoutingStorage) Delete(ctx context.Context, id string) error {
	return rt.failedWrites.count(rt.remove(ctx, "delete", id, func(ctx context.Context) error {
		return rt.remote.Delete(ctx, id)
	}))
}

// Take implements [Taker] with the remote's Take, and is [errors.ErrUnsupported] if it has none.
func (rt *RoutingStorage) Take(ctx context.Context, id string) (taken *Session, err error) {
	if rt.taker == nil {
		return nil, rt.lacks("take", "Taker")
	}
	err = rt.remove(ctx, "take", id, func(ctx context.Context) error {
		if taken, err = rt.taker.Take(ctx, id); err != nil {
			return err
		}
		return checkTaken("take", id, taken)
	})
	if err != nil {
		return nil, rt.failedWrites.count(err)
	}
	return taken, nil
}

func (rt *RoutingStorage) remove(
	ctx context.Context, op, id string, remote func(ctx context.Context) error,
) error {
	if err := checkCall(ctx, op, id); err != nil {
		return err
	}
	w, err := rt.cache.Begin(id)
	if err != nil {
		return opErr(op, ErrClosed)
	}
	w.Drop()
	defer w.Gone()
	return rt.call(ctx, op, func(ctx context.Context) error {
		if err := remote(ctx); err != nil {
			return rt.remoteError(ctx, op, err)
		}
		return nil
	})
}

// DeleteExpired implements [Storage] with the remote's. After it has returned nil, loads through this storage do not
// find what it has removed; through other replicas that takes up to MaxStaleness. It drops the local copies of all
// sessions whose last use that the remote was told of is before the given instant, whether the remote has removed them
// or not: the next load of each asks the remote. Take the instant from time.Now, so that it has a monotonic clock
// reading. A remote that keeps the time by a clock of its own removes sessions by that clock; so an instant that is
// only a little further back than [WithRefreshAfter] needs clocks that agree that well.
func (rt *RoutingStorage) DeleteExpired(ctx context.Context, before time.Time) error {
	const op = "delete expired"
	if err := rt.mayAsk(ctx, op); err != nil {
		return rt.failedWrites.count(err)
	}
	defer rt.cache.Swept(before) // also after a failure, which may have removed some
	return rt.failedWrites.count(rt.call(ctx, op, func(ctx context.Context) error {
		if err := rt.remote.DeleteExpired(ctx, before); err != nil {
			return rt.remoteError(ctx, op, err)
		}
		return nil
	}))
}

// leaveTimeout bounds the last message of a storage with fencing. Without it a fence of another replica takes
// MaxStaleness once.
const leaveTimeout = time.Second

// Close stops what this storage has started, and waits for it; that takes as long as the remote needs to notice that
// its context has ended. From then on calls return [ErrClosed]. The remote stays open. Close may be called again and
// never fails.
func (rt *RoutingStorage) Close() error {
	rt.cache.Close()
	rt.events.end(opErr("watch", ErrClosed))
	rt.keeper.close()
	if rt.holder != nil { // after it has stopped to serve
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		_ = rt.holder.Leave(ctx)
	}
	return nil
}

// hasLocalTier tells NewRoutingStorage that this is no remote, also through a type that embeds this one.
func (rt *RoutingStorage) hasLocalTier() {}
