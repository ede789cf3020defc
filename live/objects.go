package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
)

// Objects is a set of live objects, at most one per session for new callers. It is safe for concurrent use. Use it for
// as long as the process lives, and then Close it, before the storage.
type Objects[T any] struct {
	options
	storage session.Storage
	open    func(context.Context, *session.Session) (T, error)
	closer  func(T, Reason) // nil: there is nothing to close
	ttl     time.Duration   // of sessions without an idle time-out of their own; 0: not known

	ended   context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // the goroutines of this set; none is added after closed

	mu     sync.Mutex // protects following fields, and those of slots and objects
	closed bool
	slots  map[string]*slot[T]
	room   room[T]
	checks checks[T]
	missed bool   // a Gap was reported, and no Alive since
	gaps   uint64 // beginnings and ends of gaps
}

// slot is what the set knows of one id, for as long as it has an object or a Get has not ended.
type slot[T any] struct {
	id      string
	gets    int        // that have not ended
	current *object[T] // for new callers; nil: there is none
	opening *object[T] // whose call of open has not returned; nil: there is none. It may have been retired meanwhile

	removals uint64 // that were reported
	changed  uint64 // the highest revision that was reported
}

// New returns an empty set of objects for the sessions of a storage.
//
// open makes the object of a session. Its context is not a caller's, and carries no values, because all callers share
// the object. It ends when open has returned: an object that needs a context for its lifetime must make one. open is
// called for any number of sessions at a time.
//
// closer closes an object for a reason. It is called once for each object that open has returned without an error, on
// any goroutine, for any number of objects at a time. The place of an object is free when closer has returned. nil
// means that there is nothing to close.
//
// Both may use the set, but must not Close it. Their panics are contained: one of open is an error of Get, one of
// closer is logged, see [WithLogger].
//
// The storage belongs to the caller. New panics when storage or open is nil.
func New[T any](
	storage session.Storage, open func(ctx context.Context, s *session.Session) (T, error), closer func(T, Reason),
	opts ...Option,
) *Objects[T] {
	if storage == nil {
		panic("live: New: the storage is nil")
	}
	if open == nil {
		panic("live: New: the function that opens an object is nil")
	}
	o := &Objects[T]{
		storage: storage, open: open, closer: closer, slots: make(map[string]*slot[T]),
		options: options{maxObjects: defaultMaxObjects, openTimeout: defaultOpenTimeout, logger: slog.Default()},
	}
	for _, opt := range opts {
		opt(&o.options)
	}
	if expirer, ok := storage.(session.Expirer); ok {
		o.ttl = max(0, expirer.TTL())
	}
	if p, ok := storage.(session.Peeker); ok {
		o.checks.peek = p.Peek
	}
	o.ended, o.end = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	if watcher, ok := storage.(session.Watcher); ok {
		o.running.Go(func() { o.watch(watcher) })
	} else {
		o.logNoEvents(errs.Reason("the storage, a %T, is no Watcher", storage))
	}
	return o
}

// Get loads a session, and returns its object, which the caller has to release. It opens the object if there is none,
// or only one for another state of the session; all who ask meanwhile share that call. It waits until the context ends.
// A context that has ended does not keep it from returning an object that is open.
//
// Errors: those of the storage, as they are, among them [session.ErrNotFound] and [session.ErrUnavailable]; those of
// the function that opens, as they are; [ErrClosed]; the error of the context; [context.DeadlineExceeded], if the
// opening took too long.
func (o *Objects[T]) Get(ctx context.Context, id string) (*Ref[T], error) {
	sl, err := o.enter(id)
	if err != nil {
		return nil, err
	}
	defer o.leave(sl)
	for {
		ref, err := o.try(ctx, sl)
		if ref != nil || err != nil {
			return ref, err
		}
	}
}

// Close closes all objects, and waits for that, and for calls of open that have not returned. Those in use are not
// waited for: the last Release closes each. From then on Get returns [ErrClosed]. Close may be called again and never
// fails.
func (o *Objects[T]) Close() error {
	o.mu.Lock()
	o.closed = true
	for _, sl := range o.slots {
		if sl.current != nil {
			o.retireLocked(sl.current, Closed)
		}
	}
	o.mu.Unlock()
	o.end()
	o.running.Wait()
	return nil
}

func (o *Objects[T]) enter(id string) (*slot[T], error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, ErrClosed
	}
	sl := o.slots[id]
	if sl == nil {
		sl = &slot[T]{id: id}
		o.slots[id] = sl
	}
	sl.gets++
	return sl, nil
}

func (o *Objects[T]) leave(sl *slot[T]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sl.gets--
	o.tidyLocked(sl)
}

func (o *Objects[T]) tidyLocked(sl *slot[T]) {
	if sl.gets == 0 && sl.current == nil && sl.opening == nil {
		delete(o.slots, sl.id)
	}
}

// try returns neither a Ref nor an error when the session has to be loaded again.
func (o *Objects[T]) try(ctx context.Context, sl *slot[T]) (*Ref[T], error) {
	found, err := o.load(ctx, sl)
	if err != nil {
		return nil, err
	}
	obj, err := o.join(ctx, sl, found)
	if obj == nil {
		return nil, err
	}
	select {
	case <-obj.returned:
	case <-obj.gone:
	case <-ctx.Done():
	}
	s, served, err := o.outcome(ctx, obj, found)
	if !served {
		o.release(obj)
		return nil, err
	}
	return &Ref[T]{Object: obj.value, Session: s, objects: o, object: obj}, nil
}

// state is one state of a session. The revision is that of when it was loaded: a caller who stores the session in
// another storage changes the one that it carries.
type state struct {
	session  *session.Session
	revision uint64
}

// loaded is what a storage has answered, and what the set knew before it was asked. What was reported meanwhile may be
// about a later state than the answer.
type loaded struct {
	state
	at       time.Time // of the answer
	removals uint64
	gaps     uint64
}

func (o *Objects[T]) load(ctx context.Context, sl *slot[T]) (loaded, error) {
	o.mu.Lock()
	before := sl.current
	found := loaded{removals: sl.removals, gaps: o.gaps}
	o.mu.Unlock()
	s, err := o.storage.Load(ctx, sl.id)
	found.at = time.Now()
	switch {
	case err != nil:
		// Only an object that was there before the storage was asked has certainly lost its session:
		//  1. The storage answers that there is no session.
		//  2. The session is created, and another Get opens an object for it.
		//  3. The answer arrives here.
		if before != nil && isGone(err) {
			o.retireGone(before, found.at)
		}
		return loaded{}, err
	case s == nil || s.ID() != sl.id:
		return loaded{}, errWrong
	}
	found.state = state{s, s.Revision()}
	return found, nil
}

// join counts the caller among the users of the session's object, which it begins if there is none. It returns neither
// an object nor an error when the session has to be loaded again.
func (o *Objects[T]) join(ctx context.Context, sl *slot[T], found loaded) (*object[T], error) {
	for {
		o.mu.Lock()
		current, opening := sl.current, sl.opening
		switch {
		case o.closed:
			o.mu.Unlock()
			return nil, ErrClosed
		case sl.removals != found.removals:
			// It may be the loaded session that was removed, and no other report would come for an object that is opened now.
			o.mu.Unlock()
			return nil, nil //nolint:nilnil // see above
		case current == nil && opening != nil: // it was given up, or its session was removed
			o.mu.Unlock()
			return nil, o.awaitReturn(ctx, opening)
		case current == nil && ctx.Err() != nil:
			o.mu.Unlock()
			return nil, ended(ctx)
		case current == nil:
			current = o.beginLocked(sl, found)
			o.mu.Unlock()
			return current, nil
		case current.phase != opened || found.revision <= current.state.revision:
			// An object that is being opened for an earlier state is opened all the same: those who wait for it have loaded
			// that. Interrupted by each change, it would never be there when changes come faster than it opens.
			o.useLocked(current, found.at)
			o.mu.Unlock()
			return current, nil
		}
		have := current.state
		o.mu.Unlock()
		o.compared(current, have, found.state, o.isSame(have.session, found.session))
	}
}

// awaitReturn waits for a call of open whose result is not wanted any more, so that only one runs at a time.
func (o *Objects[T]) awaitReturn(ctx context.Context, opening *object[T]) error {
	timeout := time.NewTimer(o.openTimeout)
	defer timeout.Stop()
	select {
	case <-opening.returned:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	case <-timeout.C:
		return errStillOpens
	}
}

// outcome reports whether an object may be handed out to a caller who has waited for it, and for which session. If not,
// and there is no error, the session has to be loaded again.
func (o *Objects[T]) outcome(ctx context.Context, obj *object[T], found loaded) (*session.Session, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case obj.reason == Closed:
		return nil, false, ErrClosed
	case obj.err != nil:
		return nil, false, obj.err
	case obj.reason == "" && obj.phase != opened:
		return nil, false, ended(ctx)
	case obj.phase != opened, obj.state.revision < found.revision, obj.reason != "" && obj.reason != Superseded:
		// One that was superseded after the session was loaded is handed out: otherwise callers would wait forever when
		// changes come faster than a goroutine wakes up. Done tells them.
		return nil, false, nil
	case obj.state.revision > found.revision:
		// The owner of the loaded session, which a caller may check, may not be that of the object:
		//  1. A session is loaded, from a cache for example. It is deleted, and another one is created under its id.
		//  2. Another Get loads that, and opens an object for it.
		return obj.state.session, true, nil
	}
	return found.session, true, nil
}

func ended(ctx context.Context) error { return fmt.Errorf("live: get: %w", ctx.Err()) }
