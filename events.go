package session

import (
	"context"
	"time"
)

// Event is what a [Watcher] reports: a [Changed], [Removed], [Gap] or [Alive].
type Event interface{ event() }

// Changed says that a session was written, by whomever, and has reached a revision.
type Changed struct {
	ID       string
	Revision uint64
}

// Removed says that a session was deleted or taken, by whomever.
type Removed struct{ ID string }

// Gap says that events flow from here on, and that any number of earlier ones may be missing.
type Gap struct{}

// Alive says that every change that was acknowledged before AsOf, and not before the last [Gap], has been reported.
// AsOf is an instant of this process and carries a monotonic clock reading.
type Alive struct{ AsOf time.Time }

func (Changed) event() {}
func (Removed) event() {}
func (Gap) event()     {}
func (Alive) event()   {}

// Watcher is implemented by storages that report changes as they happen. A [RoutingStorage] in front of one serves
// local copies for as long as the reports flow; in front of another storage, for [WithMaxStaleness] after they were
// fetched.
type Watcher interface {
	// Watch calls fn for the events of the whole storage, in order and one at a time, until the context ends or
	// something fails; the error says what. It begins with a Gap. Own writes are reported like others. As often as the
	// heartbeat says, it proves that nothing is missing, from end to end, and says so with an Alive: never with one
	// that it cannot prove. fn must not block. Any number of Watch calls may run at a time.
	//
	// A storage that cannot watch as it is set up answers errors.ErrUnsupported at once.
	Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error

	// TTL is the idle lifetime of the storage's sessions.
	TTL() time.Duration
}
