package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/nearcache"
)

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
	checkHeartbeat(heartbeat)
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

func checkHeartbeat(heartbeat time.Duration) {
	if heartbeat <= 0 {
		panic(fmt.Sprintf("session: Watch: heartbeat %v: must be positive", heartbeat))
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

// marker is an event for the watch itself: what came before it has been delivered.
type marker struct{ arrived func() }

func (marker) event() {}

// feed passes events on to any number of Watch calls. Each has a backlog of its own, so a slow one delays neither the
// others nor what announces. The zero value is ready for use.
type feed struct {
	mu       sync.Mutex // protects following fields, and the watchers'
	watchers map[*watcher]struct{}
	over     error // why no more events come; nil while they may
}

// watcher is one Watch call.
type watcher struct {
	feed    *feed
	backlog []Event
	bytes   int           // of the ids in backlog
	markers int           // in backlog
	wake    chan struct{} // holds one element while there may be a backlog
}

// The events that may wait for a slow watcher, and the bytes of their ids. Beyond these they are dropped, and the
// watcher gets a Gap, for which a RoutingStorage loads all its local sessions again. A sweep of 50,000 sessions should
// not have that effect. What waits for a watcher that is stuck is at most about 20 MiB.
const (
	maxBacklog      = 1 << 16
	maxBacklogBytes = 16 << 20
	maxMarkers      = 256
)

// join returns a watcher that gets a Gap, and everything that is announced from now on.
func (f *feed) join() *watcher {
	w := &watcher{feed: f, backlog: []Event{Gap{}}, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = make(map[*watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	return w
}

func (w *watcher) leave() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.watchers, w)
}

// announce adds an event to the backlog of each watcher. It waits for none of them.
func (f *feed) announce(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.addLocked(e)
		w.wakeLocked()
	}
}

// mark adds a marker to the backlog of a watcher. It returns false if the watcher has left, or is stuck: then too many
// wait for it, and a fence that gets no answer takes as long as the lease.
func (w *watcher) mark(arrived func()) bool {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	if _, joined := w.feed.watchers[w]; !joined || w.markers >= maxMarkers {
		return false
	}
	w.markers++
	w.addLocked(marker{arrived})
	w.wakeLocked()
	return true
}

// end tells the watchers, also those that join later, that no more events come. The last reason counts.
func (f *feed) end(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = why
	for w := range f.watchers {
		w.wakeLocked()
	}
}

func (w *watcher) addLocked(e Event) {
	var bytes int
	switch e := e.(type) {
	case Changed:
		bytes = len(e.ID)
	case Removed:
		bytes = len(e.ID)
	case Alive: // a later proof includes the one before it
		if last := len(w.backlog) - 1; last >= 0 {
			if _, ok := w.backlog[last].(Alive); ok {
				w.backlog[last] = e
				return
			}
		}
	}
	if len(w.backlog) >= maxBacklog || w.bytes+bytes > maxBacklogBytes {
		markers := slices.DeleteFunc(w.backlog, func(e Event) bool { _, ok := e.(marker); return !ok })
		w.backlog, w.bytes = append([]Event{Gap{}}, markers...), 0 // a fence need not wait longer for the Gap
	}
	w.backlog = append(w.backlog, e)
	w.bytes += bytes
}

func (w *watcher) wakeLocked() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// deliver calls fn for what has waited. Once the feed is over, it returns the reason instead.
func (w *watcher) deliver(fn func(Event)) error {
	backlog, err := w.take()
	if err != nil {
		return err
	}
	for _, e := range backlog {
		if m, ok := e.(marker); ok {
			m.arrived()
		} else {
			fn(e)
		}
	}
	return nil
}

func (w *watcher) take() ([]Event, error) {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	backlog := w.backlog
	w.backlog, w.bytes, w.markers = nil, 0, 0
	return backlog, w.feed.over
}
