package live

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/seed34611480/session"
)

// Option configures an [Objects].
type Option func(*options)

type options struct {
	same        func(before, after *session.Session) bool // nil: never
	maxObjects  int
	openTimeout time.Duration
	logger      *slog.Logger
}

const (
	defaultMaxObjects  = 10_000
	defaultOpenTimeout = 10 * time.Second
)

// WithSame sets how a change of a session is judged: same returns true if an object that was opened for the session as
// it was before also serves for it as it is after. Otherwise the object is superseded. By default every change
// supersedes it, also one that a user of the object has stored. A session that was made anew under its id (its
// [session.Session.CreatedAt] is another) always does.
//
// same compares contents, not revisions, and returns at once. Any number of goroutines may call it at a time. Where the
// storage has a method Peek, a change costs each replica that has an object for the session one call of it. WithSame
// panics when same is nil.
func WithSame(same func(before, after *session.Session) bool) Option {
	if same == nil {
		panic("live: WithSame: the function is nil")
	}
	return func(o *options) { o.same = same }
}

// WithMaxObjects limits the number of objects: those in use, those kept, and those being opened or closed. When there
// is no place for another one, the least recently used one that is not in use makes room. If all are in use, Get waits
// for a place until its context ends; so a caller that holds an object while it asks for another may wait for itself. 0
// means the default, 10,000. It panics when n is negative.
func WithMaxObjects(n int) Option {
	if n < 0 {
		panic(fmt.Sprintf("live: WithMaxObjects(%d): cannot be negative", n))
	}
	if n == 0 {
		n = defaultMaxObjects
	}
	return func(o *options) { o.maxObjects = n }
}

// WithOpenTimeout sets how long the opening of an object may take. Its context ends then, and so does the wait of its
// callers, with an error that matches [context.DeadlineExceeded], also if the function heeds no context. 0 means the
// default, 10 s. It panics when d is negative.
func WithOpenTimeout(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("live: WithOpenTimeout(%v): cannot be negative", d))
	}
	if d == 0 {
		d = defaultOpenTimeout
	}
	return func(o *options) { o.openTimeout = d }
}

// WithLogger sets where panics of the caller's functions are logged, and when the storage begins to report no events,
// once a minute at most. Nothing else is, and never an id. The default is [slog.Default]. It panics when logger is nil.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("live: WithLogger: the logger is nil")
	}
	return func(o *options) { o.logger = logger }
}

// isSame reports whether an object that was opened for one state of a session serves for another one.
func (o *options) isSame(before, after *session.Session) bool {
	return o.same != nil && before.CreatedAt().Equal(after.CreatedAt()) && o.same(before, after)
}
