package requeststate

import (
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

// Option configures a [Guard].
type Option func(o *options)

type options struct {
	lifetime  time.Duration
	anonymous bool
	once      session.Storage // nil: not asked for
}

const defaultLifetime = 10 * time.Minute

// WithLifetime sets how long after it was sealed a state can be opened: the time that a user has to answer. 0 means the
// default, 10 minutes. It panics when d is negative, or less than a millisecond.
func WithLifetime(d time.Duration) Option {
	if d < 0 || d > 0 && d < time.Millisecond {
		panic(fmt.Sprintf("requeststate: WithLifetime(%v): must be at least 1ms", d))
	}
	if d == 0 {
		d = defaultLifetime
	}
	return func(o *options) { o.lifetime = d }
}

// Anonymous allows an empty [Binding.Principal], for servers without authentication: such a state can be opened by all
// who have it and repeat its request. By default it is [ErrIncomplete], because it usually means that a check of the
// caller was forgotten.
func Anonymous() Option {
	return func(o *options) { o.anonymous = true }
}

// Once makes each requestState of a [Sealed] usable once: Open records it in a storage that all replicas share, until
// it would have expired anyway and a minute longer, as clocks differ. A record is small, and is never loaded. So the
// storage is the remote itself: Once panics when it is no [session.Creator], or is a [session.RoutingStorage], whose
// local tier would be filled in vain.
func Once(remote session.Storage) Option {
	if _, ok := remote.(*session.RoutingStorage); ok {
		panic("requeststate: Once: the storage is a RoutingStorage: use its remote")
	}
	if _, ok := remote.(session.Creator); !ok {
		panic(fmt.Sprintf("requeststate: Once: the storage, a %T, is no Creator", remote))
	}
	return func(o *options) { o.once = remote }
}

func apply(opts []Option) options {
	o := options{lifetime: defaultLifetime}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}
