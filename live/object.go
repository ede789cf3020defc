package live

import (
	"container/list"
	"context"
	"time"
)

// object is one object, from the decision to open it until it is closed.
//
//	       a place is free       open has returned
//	waiting ----------> opening -------------------> opened ----------> over
//	   |                   |                                    closed
//	   +-------------------+------------------------------------> over
//	     given up, its session was removed, open has failed
//
// It is retired when it has to go: it gets its reason, and no new users. It is closed when it is opened, retired, and
// has no users. Fields without a comment on their guard are guarded by Objects.mu.
type object[T any] struct {
	slot  *slot[T]
	phase phase
	state state // the latest one that the object serves for
	users int   // callers that wait for it, and those that hold it

	reason Reason        // why it has to go; "" while it need not
	gone   chan struct{} // closed with the reason

	cancel   func()        // ends the context of open
	returned chan struct{} // closed when open has returned
	value    T             // fixed when returned is closed
	err      error         // why it cannot be had

	place  *list.Element // in one of the lists of the room
	timer  *time.Timer   // for the end of its session
	usedAt time.Time     // when a Get last loaded the session
	seenAt time.Time     // when it was last loaded or looked at
	queued bool          // for a check
	gaps   uint64        // as they were before its session was loaded, or looked at
}

type phase int

const (
	waiting phase = iota // for a place
	opening              // open is called
	opened
	over // it failed, or is being closed, or was never opened
)

// beginLocked returns an object with one user, which waits for its place.
func (o *Objects[T]) beginLocked(sl *slot[T], found loaded) *object[T] {
	obj := &object[T]{
		slot: sl, state: found.state, users: 1, usedAt: found.at, seenAt: found.at, gaps: found.gaps,
		gone: make(chan struct{}), returned: make(chan struct{}),
	}
	sl.current = obj
	o.room.wait(obj)
	o.admitLocked()
	o.makeRoomLocked()
	return obj
}

// startLocked calls open on a goroutine of its own, because the callers may give up.
func (o *Objects[T]) startLocked(obj *object[T]) {
	ctx, cancel := context.WithTimeout(o.ended, o.openTimeout)
	stop := context.AfterFunc(ctx, func() { o.late(obj) })
	obj.phase, obj.slot.opening = opening, obj
	obj.cancel = func() {
		stop()
		cancel()
	}
	s := obj.state.session
	o.running.Go(func() {
		var value T
		err := errNoReturn
		defer func() { o.land(obj, value, err) }()
		value, err = o.callOpen(ctx, s)
	})
}

// late gives an object up when its time-out has passed: open may not heed its context.
func (o *Objects[T]) late(obj *object[T]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if obj.phase == opening && obj.reason == "" {
		obj.err = errOpenTimeout
		o.retireLocked(obj, Abandoned)
	}
}

// land takes in the result of open.
func (o *Objects[T]) land(obj *object[T], value T, err error) {
	o.mu.Lock()
	sl := obj.slot
	sl.opening = nil
	obj.cancel()
	if err == nil && obj.state.session.Expired(time.Now()) {
		o.retireLocked(obj, Expired)
	}
	obj.value = value
	switch {
	case err != nil:
		obj.phase = over
		if obj.reason == "" {
			obj.err = err
			sl.current = nil
		}
		o.room.taken--
		o.admitLocked()
	case obj.reason != "": // its users only wait for it, and do not get it
		o.endLocked(obj)
		defer o.finish(obj)
	default:
		obj.phase = opened
		o.changedLocked(sl, sl.changed) // while it was opened
		if obj.gaps != o.gaps {
			o.checkLocked(obj)
		}
		o.armLocked(obj)
	}
	close(obj.returned)
	o.tidyLocked(sl)
	o.mu.Unlock()
}

// useLocked counts a user, whose load of the session was answered at an instant.
func (o *Objects[T]) useLocked(obj *object[T], at time.Time) {
	if obj.phase == opened {
		o.room.leave(obj) // it is not unused any more
	}
	obj.users++
	obj.usedAt, obj.seenAt = latest(obj.usedAt, at), latest(obj.seenAt, at)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// release ends a use, or the wait of a caller.
func (o *Objects[T]) release(obj *object[T]) {
	o.mu.Lock()
	obj.users--
	switch {
	case obj.users > 0:
	case obj.phase == opened && obj.reason != "":
		o.endLocked(obj)
		defer o.finish(obj)
	case obj.phase == opened:
		o.room.idle(obj)
		o.makeRoomLocked()
	default:
		o.retireLocked(obj, Abandoned)
	}
	o.mu.Unlock()
}

// compared takes in whether an object serves for another state of its session, too.
func (o *Objects[T]) compared(obj *object[T], have, other state, same bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case obj.state.revision != have.revision: // another comparison was faster
	case same:
		obj.state = other
		o.armLocked(obj)
	default:
		o.retireLocked(obj, Superseded)
	}
}

func (o *Objects[T]) retire(obj *object[T], reason Reason) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.retireLocked(obj, reason)
}

// retireGone retires an object whose session is not in the storage any more. Of a session that could have expired no
// event tells, so it has.
func (o *Objects[T]) retireGone(obj *object[T], now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	idle := o.idleTime(obj)
	if obj.state.session.Expired(now) || idle > 0 && now.Sub(obj.usedAt) >= idle {
		o.retireLocked(obj, Expired)
	} else {
		o.retireLocked(obj, Removed)
	}
}

// retireLocked makes an object go, unless it does already. It is closed now, or by its last user.
func (o *Objects[T]) retireLocked(obj *object[T], reason Reason) {
	if obj.reason != "" || obj.phase == over {
		return
	}
	obj.reason = reason
	close(obj.gone)
	if obj.timer != nil {
		obj.timer.Stop()
	}
	obj.slot.current = nil
	o.tidyLocked(obj.slot)
	switch {
	case obj.phase == waiting:
		obj.phase = over
		o.room.leave(obj)
	case obj.phase == opening:
		obj.cancel()
	case obj.users == 0:
		o.room.leave(obj)
		o.endLocked(obj)
		o.running.Go(func() { o.finish(obj) })
	}
}

// endLocked comes before finish. No other path closes the object from here on.
func (o *Objects[T]) endLocked(obj *object[T]) {
	obj.phase = over
	o.room.ending++
}

// finish closes an object, and gives its place to another one.
func (o *Objects[T]) finish(obj *object[T]) {
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.room.ending--
		o.room.taken--
		o.admitLocked()
	}()
	if o.closer != nil {
		_ = o.callClose(obj.value, obj.reason)
	}
}
