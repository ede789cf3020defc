package live

import (
	"sync/atomic"

	"github.com/seed34611480/session"
)

// Reason says why an object was closed, or has to go.
type Reason string

// The reasons. The package documentation says more about each.
const (
	Removed    Reason = "removed"    // its session was deleted or taken, or is gone for an unknown reason
	Expired    Reason = "expired"    // its session has expired
	Superseded Reason = "superseded" // its session has changed in what matters
	Evicted    Reason = "evicted"    // it made room for another one
	Discarded  Reason = "discarded"  // a user has found it broken
	Abandoned  Reason = "abandoned"  // it was opened too late, and never handed out
	Closed     Reason = "closed"     // the set was closed
)

// Ref is one use of an object. It keeps the object open until it is released. Its methods are safe for concurrent use.
type Ref[T any] struct {
	// Object is valid until Release. All who use the session share it.
	Object T

	// Session is the one that the object is for: as the Get has loaded it, or newer. It may be newer than the state that
	// the object was opened for, see [WithSame].
	Session *session.Session

	objects  *Objects[T]
	object   *object[T]
	released atomic.Bool
}

// Done is closed when the object has to go. It stays open until it is released, but new callers do not get it any more.
// A user that holds it for long should stop then. It may be closed from the start: the session has changed since it was
// loaded.
func (r *Ref[T]) Done() <-chan struct{} { return r.object.gone }

// Reason returns why the object has to go, or "" while it need not.
func (r *Ref[T]) Reason() Reason {
	r.objects.mu.Lock()
	defer r.objects.mu.Unlock()
	return r.object.reason
}

// Release ends the use. The last user of an object that has to go closes it, before Release returns. Calling Release
// again does nothing. An object that is never released is never closed, and keeps its place.
func (r *Ref[T]) Release() {
	if !r.released.Swap(true) {
		r.objects.release(r.object)
	}
}

// Discard is Release for an object that turned out to be broken, a connection that was reset for instance: it has to
// go. The next Get opens a new one. After Release it does nothing.
func (r *Ref[T]) Discard() {
	if !r.released.Swap(true) {
		r.objects.retire(r.object, Discarded)
		r.objects.release(r.object)
	}
}
