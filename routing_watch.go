package session

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Watching is retried after a pause that doubles from the first value up to the last, at random between a half of it
// and the whole, so that many replicas do not come back all at once.
const (
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// jittered returns between a half of a pause and the whole. Replicas were started at different times, so the
// nanoseconds since then are as good as chance, and in virtual time they repeat.
func (r *RoutingStorage) jittered(pause time.Duration) time.Duration {
	return pause/2 + time.Duration(r.clock.now())%(pause/2)
}

// watchState is what the log was told last.
type watchState int32

const (
	watchBegins watchState = iota
	watchFlows
	watchFails
)

// watch keeps the events flowing until the storage is closed. While they do not, entries are bounded by their age.
func (r *RoutingStorage) watch(watcher Watcher) {
	pause := minWatchPause
	for {
		r.begun.Store(false)
		err := watcher.Watch(r.closing, r.maxStaleness/4, r.apply)
		if r.closing.Err() != nil {
			return
		}
		if r.enter(watchFails, err) == watchFlows {
			pause = minWatchPause
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return
		}
		timer := time.NewTimer(r.jittered(pause))
		select {
		case <-timer.C:
		case <-r.closing.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, maxWatchPause)
	}
}

// apply takes in one event. The watcher calls it one at a time.
func (r *RoutingStorage) apply(e Event) {
	switch e := e.(type) {
	case Changed:
		r.mu.Lock()
		dropped := r.changedLocked(e.ID, e.Revision)
		r.mu.Unlock()
		r.countEvent(dropped)
	case Removed:
		r.mu.Lock()
		dropped := r.removedLocked(e.ID)
		r.mu.Unlock()
		r.countEvent(dropped)
	case Gap:
		r.stats.gaps.Add(1)
		r.lease.beginEpoch()
		r.begun.Store(true)
	case Alive:
		if !r.begun.Load() {
			return // a Watch that has not said from where on it reports proves nothing
		}
		// What is said of the future cannot be known yet.
		asOf := min(r.clock.at(e.AsOf), r.clock.now())
		r.lease.extend(asOf, r.maxStaleness)
		r.stats.provenAt.Store(int64(asOf))
		r.enter(watchFlows, nil)
	}
}

func (r *RoutingStorage) countEvent(dropped bool) {
	r.stats.events.Add(1)
	if dropped {
		r.stats.revoked.Add(1)
	}
}

// enter returns the previous state, and logs one line if the new one is another: an outage of an hour is two lines.
func (r *RoutingStorage) enter(state watchState, err error) watchState {
	previous := watchState(r.watching.Swap(int32(state)))
	if previous == state {
		return previous
	}
	if state == watchFlows {
		r.logger.LogAttrs(context.Background(), slog.LevelInfo,
			"session: change events flow, local sessions are served for as long as they do")
	} else {
		r.logger.LogAttrs(context.Background(), slog.LevelWarn,
			"session: no change events, local sessions are served for a bounded time after they were fetched",
			slog.Duration("max_staleness", r.maxStaleness), slog.Any("error", err))
	}
	return previous
}
