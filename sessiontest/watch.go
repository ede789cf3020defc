package sessiontest

import (
	"context"
	"errors"
	"time"

	"github.com/seed34611480/session"
)

var watcherCases = []testCase{
	{"Watch", watch},
}

// heartbeat is what the case asks for. A storage may take longer: the case waits for patience.
const (
	heartbeat = 100 * time.Millisecond
	patience  = 20 * time.Second
)

// watching is a Watch call in the background.
type watching struct {
	*env
	events chan session.Event
	ended  chan error
}

// watch: Watch begins with a Gap, and reports in order what is written and removed through this storage. What is proven
// has been reported. A Removed tells the last revision, or none.
func watch(e *env) {
	w, ok := e.Storage.(session.Watcher)
	if !ok {
		e.Skipf("the storage is not a session.Watcher")
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	watches := watching{e, make(chan session.Event, 1000), make(chan error, 1)}
	go func() {
		watches.ended <- w.Watch(ctx, heartbeat, func(event session.Event) { watches.events <- event })
	}()
	first, ok := watches.next()
	if !ok {
		return
	}
	if first != (session.Gap{}) {
		e.Fatalf("Watch began with a %T, want a Gap", first)
	}
	watches.proven(time.Now(), nil) // until then the events may not flow
	s := e.stored()
	next := s.With("k", "v")
	e.store(next)
	e.delete(next.ID())
	again := session.New(next.ID())
	e.store(again)
	watches.proven(time.Now(), []session.Event{
		session.Changed{ID: s.ID(), Revision: s.Revision()},
		session.Changed{ID: s.ID(), Revision: next.Revision()},
		session.Removed{ID: s.ID(), Revision: next.Revision()},
		session.Changed{ID: s.ID(), Revision: again.Revision()},
	})
	cancel()
	for {
		if _, ok := watches.next(); !ok {
			return
		}
	}
}

// next returns the next event. It returns false when the watch has ended, which is a failure unless the case wanted it,
// and skips the case if the storage cannot watch.
func (w *watching) next() (session.Event, bool) {
	w.Helper()
	select {
	case event := <-w.events:
		return event, true
	case err := <-w.ended:
		if errors.Is(err, errors.ErrUnsupported) {
			w.Skipf("the storage is not a session.Watcher")
		}
		w.fails("Watch whose context has ended", err, context.Canceled)
	case <-time.After(patience):
		w.Fatalf("Watch has reported nothing for %v", patience)
	}
	return nil, false
}

// proven waits for a proof of all that was acknowledged before an instant, and checks that these events were reported
// until then, in this order. Some storages report an event more than once.
func (w *watching) proven(acknowledged time.Time, want []session.Event) {
	w.Helper()
	for {
		event, ok := w.next()
		if !ok {
			w.Fatalf("Watch has ended before its context")
		}
		switch event := event.(type) {
		case session.Gap:
			want = nil // earlier events may be missing
		case session.Alive:
			if event.AsOf.Before(acknowledged) {
				continue
			}
			if len(want) > 0 {
				w.Errorf("an Alive was reported, but not %T, or with another revision", want[0])
			}
			return
		default:
			if len(want) > 0 && isWanted(event, want[0]) {
				want = want[1:]
			}
		}
	}
}

// isWanted reports whether an event is the wanted one. The revision of what was removed may be unknown.
func isWanted(event, want session.Event) bool {
	if removed, ok := event.(session.Removed); ok && removed.Revision == 0 {
		wanted, ok := want.(session.Removed)
		return ok && wanted.ID == removed.ID
	}
	return event == want
}
