package gosdk

import (
	"errors"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/backoff"
	"github.com/seed34611480/session/internal/errs"
)

// watch has the runs of this replica look at their tasks when these have changed. What it misses, the next renewal of a
// lease notices.
func (t *Tasks) watch(storage session.Watcher) {
	for {
		err := storage.Watch(t.running, t.lease/3, t.event)
		if t.running.Err() != nil || errs.Unsupported(err) || errors.Is(err, session.ErrClosed) {
			return
		}
		t.logSeldom("watch the storage", err)
		if backoff.Sleep(t.running, backoff.Jitter(min(time.Second, t.lease/3))) != nil {
			return
		}
	}
}

func (t *Tasks) event(e session.Event) {
	switch e := e.(type) {
	case session.Changed:
		t.wake(e.ID)
	case session.Removed:
		t.wake(e.ID)
	}
}

func (t *Tasks) wake(key string) {
	t.mu.Lock()
	r := t.byKey[key]
	t.mu.Unlock()
	if r == nil {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
