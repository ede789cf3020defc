package live

import (
	"context"
	"log/slog"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/backoff"
	"github.com/seed34611480/session/internal/errs"
)

// heartbeat is how often the storage proves that events flow. When they stop, it begins them anew, with a Gap, some
// heartbeats later.
const heartbeat = time.Second

// A watch that failed is begun again after a pause, which doubles from the first to the second.
const (
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// logPause is the least time between two lines. An outage is logged once, and what comes and goes not each time.
const logPause = time.Minute

var errWatchEnded = errs.SafeError("the watch ended without an error")

// watch takes in the events of the storage until the set is closed.
func (o *Objects[T]) watch(w session.Watcher) {
	pause := backoff.Backoff{First: minWatchPause, Most: maxWatchPause}
	var loggedAt time.Time
	for news := true; ; {
		flowed, err := o.watchOnce(w)
		if o.ended.Err() != nil {
			return
		}
		if flowed {
			pause.Reset()
			news = true
		}
		if news && time.Since(loggedAt) >= logPause {
			o.logNoEvents(err)
			news, loggedAt = false, time.Now()
		}
		if errs.Unsupported(err) || pause.Wait(o.ended) != nil {
			return
		}
	}
}

// watchOnce also reports whether the storage has proved that events flow.
func (o *Objects[T]) watchOnce(w session.Watcher) (flowed bool, err error) {
	defer o.contain("watch", &err)
	err = w.Watch(o.ended, heartbeat, func(e session.Event) {
		_, alive := e.(session.Alive)
		o.mu.Lock()
		defer o.mu.Unlock()
		flowed = flowed || alive
		o.eventLocked(e)
	})
	if err == nil {
		err = errWatchEnded
	}
	return flowed, err
}

// eventLocked takes in one event. The storage reports them in order, one at a time.
func (o *Objects[T]) eventLocked(e session.Event) {
	switch e := e.(type) {
	case session.Removed:
		if sl := o.slots[e.ID]; sl != nil {
			o.removedLocked(sl, e.Revision)
		}
	case session.Changed:
		if sl := o.slots[e.ID]; sl != nil {
			o.changedLocked(sl, e.Revision)
		}
	case session.Gap:
		o.missed = true
		o.checkAllLocked()
	case session.Alive:
		if o.missed {
			o.missed = false
			o.checkAllLocked()
		}
	}
}

// checkAllLocked looks at all sessions. That is done at a Gap, and once more when nothing is missed any more, for this
// could happen:
//
//  1. The subscription is made to a server that is about to be promoted: a Gap.
//  2. The set looks at a session, which the old master still has.
//  3. The session is deleted there. The new master takes that in with the whole data, and so passes no event on.
//  4. The new master is promoted. Its first proof is true from here on.
func (o *Objects[T]) checkAllLocked() {
	o.gaps++
	for _, sl := range o.slots {
		if sl.current != nil && sl.current.phase == opened {
			o.checkLocked(sl.current)
		}
	}
}

// removedLocked takes in that a session was removed, whose last revision was this one; 0: not known. A lower revision
// than that of the object's session is that of an earlier session with the id:
//  1. A session is deleted, and one is created under its id. That gets a higher revision.
//  2. A Get loads the new one, and opens an object for it.
//  3. The report of the delete arrives.
//
// Where the revision is not known, the object has to go: opening one too often is not wrong.
func (o *Objects[T]) removedLocked(sl *slot[T], revision uint64) {
	sl.removals++
	if current := sl.current; current != nil && (revision == 0 || revision >= current.state.revision) {
		o.retireLocked(current, Removed)
	}
}

// changedLocked takes in that a session has reached a revision. Whether the change matters, only its contents tell. An
// object that is being opened is looked at when it is open.
func (o *Objects[T]) changedLocked(sl *slot[T], revision uint64) {
	sl.changed = max(sl.changed, revision)
	current := sl.current
	switch {
	case current == nil || current.phase != opened || revision <= current.state.revision:
	case o.same == nil:
		o.retireLocked(current, Superseded)
	default:
		o.checkLocked(current)
	}
}

func (o *Objects[T]) logNoEvents(err error) {
	o.logger.LogAttrs(context.Background(), slog.LevelWarn,
		"live: no change events, removals are noticed by the next use and by timers", slog.String("error", errs.Shown(err)))
}
