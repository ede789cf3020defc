package live

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/backoff"
	"github.com/seed34611480/session/internal/errs"
)

type peekFunc func(ctx context.Context, id string) (*session.Session, error)

// checks are the objects whose sessions are to be looked at in the background: because events may have been missed,
// because the session has changed, or because it may have expired. Guarded by Objects.mu.
type checks[T any] struct {
	peek    peekFunc // nil: the storage cannot
	queue   []*object[T]
	workers int
}

const (
	maxCheckers  = 4
	checkTimeout = 5 * time.Second
	// A check that brought no answer is repeated after a pause, which doubles from the first to the second.
	minCheckPause = 50 * time.Millisecond
	maxCheckPause = 5 * time.Second
	// peeksPerTTL is how often a session is looked at that is not used here. Others may use it.
	peeksPerTTL = 4
)

// checkLocked has an object checked.
func (o *Objects[T]) checkLocked(obj *object[T]) {
	if o.queueCheckLocked(obj) && o.checks.workers < maxCheckers {
		o.checks.workers++
		o.running.Go(o.check)
	}
}

func (o *Objects[T]) queueCheckLocked(obj *object[T]) bool {
	if o.lookLocked(obj) == nil || obj.queued || obj.reason != "" || o.closed {
		return false
	}
	obj.queued = true
	o.checks.queue = append(o.checks.queue, obj)
	return true
}

// check looks at the sessions of queued objects until there are none. In an outage it pauses after each.
func (o *Objects[T]) check() {
	pause := backoff.Backoff{First: minCheckPause, Most: maxCheckPause}
	for {
		obj, look := o.nextCheck()
		if obj == nil {
			return
		}
		if o.checkOne(obj, look) {
			pause.Reset()
			continue
		}
		_ = pause.Wait(o.ended)
		o.mu.Lock()
		o.queueCheckLocked(obj)
		o.mu.Unlock()
	}
}

// lookLocked returns how the storage can be asked about the session of an object, or nil. For an object that was opened
// before events began to flow there is always a way, once: a load keeps the session alive, but not for much longer than
// the load for the object did.
func (o *Objects[T]) lookLocked(obj *object[T]) peekFunc {
	if o.checks.peek == nil && obj.gaps == 0 {
		return o.storage.Load
	}
	return o.checks.peek
}

func (o *Objects[T]) nextCheck() (*object[T], peekFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.checks.queue) == 0 || o.closed {
		o.checks.queue = nil
		o.checks.workers--
		return nil, nil
	}
	obj := o.checks.queue[0]
	o.checks.queue[0] = nil
	o.checks.queue = o.checks.queue[1:]
	obj.queued = false // what is reported from here on needs another check
	return obj, o.lookLocked(obj)
}

// checkOne reports whether the storage has answered.
func (o *Objects[T]) checkOne(obj *object[T], look peekFunc) (answered bool) {
	o.mu.Lock()
	have, usedAt, gaps, over := obj.state, obj.usedAt, o.gaps, obj.reason != ""
	o.mu.Unlock()
	if over || look == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(o.ended, checkTimeout)
	defer cancel()
	s, err := o.callPeek(ctx, look, obj.slot.id)
	switch {
	case errs.Unsupported(err):
		o.noPeek()
		return false // there may be another way
	case isGone(err):
		return o.checkedGone(obj, usedAt)
	case errors.Is(err, session.ErrCorrupt): // it cannot be loaded, and will be looked at again
	case err != nil || s == nil || s.ID() != obj.slot.id:
		return false
	default:
		if found := (state{s, s.Revision()}); found.revision > have.revision {
			o.compared(obj, have, found, o.callSame(have.session, s))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	obj.seenAt, obj.gaps = time.Now(), gaps
	o.armLocked(obj)
	return true
}

// checkedGone takes in that there is no session, unless a Get has loaded it meanwhile: one of the two answers is older.
func (o *Objects[T]) checkedGone(obj *object[T], usedAt time.Time) (certain bool) {
	o.mu.Lock()
	meanwhile := !obj.usedAt.Equal(usedAt)
	o.mu.Unlock()
	if meanwhile {
		return false
	}
	o.retireGone(obj, time.Now())
	return true
}

// noPeek takes in that the storage cannot look at sessions as it is set up. The timers do without.
func (o *Objects[T]) noPeek() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checks.peek = nil
	for _, sl := range o.slots {
		if sl.current != nil {
			sl.current.queued = false
			o.armLocked(sl.current)
		}
	}
}

// armLocked sets the timer of an object: for the absolute end of its session, and for when that may have been idle for
// too long. A use does not set it anew: due finds that it has come too early, and sets it again.
func (o *Objects[T]) armLocked(obj *object[T]) {
	if obj.phase != opened || obj.reason != "" {
		return
	}
	const never = math.MaxInt64
	next := time.Duration(never)
	if end := obj.state.session.ExpiresAt(); !end.IsZero() {
		next = time.Until(end)
	}
	if at, ok := o.idleAtLocked(obj); ok && !obj.queued { // a check ends by setting the timer
		next = min(next, time.Until(at))
	}
	switch {
	case next == never:
	case obj.timer == nil:
		obj.timer = time.AfterFunc(next, func() { o.due(obj) })
	default:
		obj.timer.Reset(next)
	}
}

// idleAtLocked is when something has to be done if nothing was seen of a session meanwhile: where the storage can be
// looked at, that is done in good time; where it cannot, the session is taken to be over. It returns false if there is
// nothing to do. A session without an idle time-out is looked at, too: where no events tell, that is how its removal is
// noticed.
func (o *Objects[T]) idleAtLocked(obj *object[T]) (at time.Time, ok bool) {
	idle := o.idleTime(obj)
	if o.checks.peek == nil {
		return obj.seenAt.Add(idle), idle > 0
	}
	if idle < 0 {
		idle = o.ttl
	}
	return obj.seenAt.Add(max(1, idle/peeksPerTTL)), idle > 0
}

// idleTime is how long the session of an object lives without a use. 0: that is not known; negative: for ever.
func (o *Objects[T]) idleTime(obj *object[T]) time.Duration {
	return cmp.Or(obj.state.session.IdleTimeout(), o.ttl)
}

// due is what the timer of an object calls.
func (o *Objects[T]) due(obj *object[T]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	at, ok := o.idleAtLocked(obj)
	idle := ok && !now.Before(at)
	switch {
	case obj.state.session.Expired(now) || idle && o.checks.peek == nil:
		o.retireLocked(obj, Expired)
	case idle:
		o.checkLocked(obj)
	}
	o.armLocked(obj)
}
