package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/nearcache"
)

// TTL implements [Expirer]: it is the remote's, or 0 if the remote does not tell it.
func (rt *RoutingStorage) TTL() time.Duration { return rt.ttl }

// Watch implements [Watcher]. Any number of Watch calls share the one subscription that this storage has to its remote;
// they cost the remote nothing. Changes of all replicas are reported, those through this storage included. An event is
// reported after the local tier has taken it in: a Load from then on does not return the state that the event ended. On
// a Cluster an event may be reported several times.
//
// Watch begins with a [Gap], and reports another one each time the subscription has broken and works again: Watch does
// not end with it. In between, no [Alive] is reported. After a Gap, a local copy may miss a change that was not
// reported, for up to [WithMaxStaleness]. [RoutingStorage.LoadFresh] returns the present state.
//
// An Alive comes about once per heartbeat, but not more often than the subscription of this storage proves that nothing
// is missing, which is every quarter of MaxStaleness.
//
// A call of fn that takes long delays neither this storage nor other Watch calls. At most 65,536 events and 16 MiB of
// ids wait for it. When there are more, it misses them and gets a Gap.
//
// The error is that of the context when it has ended, [ErrClosed] after Close, and [errors.ErrUnsupported] if the
// remote is no Watcher, or cannot watch as it is set up, or was found not to report all writes. It panics if heartbeat
// is not positive.
func (rt *RoutingStorage) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	if heartbeat <= 0 {
		panic(fmt.Sprintf("session: Watch: heartbeat %v: must be positive", heartbeat))
	}
	w := rt.events.join()
	defer w.leave()
	fn = lessAlive(heartbeat, fn)
	for {
		if err := w.deliver(fn); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return opErr("watch", ctx.Err())
		}
	}
}

// lessAlive leaves out proofs that come sooner after each other than about a heartbeat.
func lessAlive(heartbeat time.Duration, fn func(Event)) func(Event) {
	var last time.Time
	return func(e Event) {
		switch e := e.(type) {
		case Gap:
			last = time.Time{}
		case Alive:
			if e.AsOf.Sub(last) < heartbeat-heartbeat/4 {
				return
			}
			last = e.AsOf
		}
		fn(e)
	}
}

// report hands an event of the remote to the local tier, and then to those who watch. A proof that the local tier does
// not believe is not passed on.
func (rt *RoutingStorage) report(e Event, to nearcache.Sink) {
	switch own := e.(type) {
	case Changed:
		to.Changed(own.ID, own.Revision)
	case Removed:
		to.Removed(own.ID)
	case Gap:
		to.Gap()
	case Alive:
		if !to.Alive(own.AsOf) {
			return
		}
		if now := time.Now(); own.AsOf.After(now) {
			e = Alive{AsOf: now} // as the local tier has understood it
		}
	}
	rt.events.announce(e)
}

// noWatcher ends all Watch calls, because the remote will not be watched any more.
func (rt *RoutingStorage) noWatcher(reason string) {
	rt.events.end(opErrBecause("watch", errors.ErrUnsupported, errs.Reason("the remote, a %T, "+reason, rt.remote)))
}

// watchOver is told why the remote is not watched any more.
func (rt *RoutingStorage) watchOver(err error) {
	if errs.Unsupported(err) {
		rt.noWatcher("cannot watch as it is set up")
	} else {
		rt.noWatcher("has not reported writes, although it said that nothing was missing")
	}
}
