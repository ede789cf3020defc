package session

import (
	"context"
	"errors"
	"time"
)

// refreshRetry is the pause after a failed refresh. It doubles up to a half of MaxStaleness, less a half of it at
// random.
const refreshRetry = 50 * time.Millisecond

// refresher renews entries ahead of need, in the background. That is also what keeps sessions alive in the remote while
// their hits are answered here. An entry that is due is renewed even if no other hit comes: its next one may come when
// it would be too late. Guarded by RoutingStorage.mu.
type refresher struct {
	limit   int // of workers
	workers int
	waiting []*entry // for a worker; each is due once, so there are no more than entries
}

// refresh has an entry renewed, if nobody has asked for that since it became due.
func (r *RoutingStorage) refresh(e *entry, due int64) {
	if !e.refreshAt.CompareAndSwap(due, int64(never)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
	case r.refresher.workers < r.refresher.limit:
		r.refresher.workers++
		r.background.Go(func() { r.refreshAll(e) })
	default:
		r.refresher.waiting = append(r.refresher.waiting, e)
	}
}

// refreshAll is a worker: it renews an entry, and then those that wait, until there are none.
func (r *RoutingStorage) refreshAll(e *entry) {
	for e != nil {
		r.renew(e)
		e = r.nextDue()
	}
}

func (r *RoutingStorage) nextDue() *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.refresher.waiting) == 0 || r.closed {
		r.refresher.waiting = nil
		r.refresher.workers--
		return nil
	}
	e := r.refresher.waiting[0]
	r.refresher.waiting[0] = nil
	r.refresher.waiting = r.refresher.waiting[1:]
	return e
}

// renew loads an entry's session until the remote has answered, or there is no use in it.
func (r *RoutingStorage) renew(e *entry) {
	for pause := refreshRetry; ; pause *= 2 {
		f := r.startRefresh(e)
		if f == nil {
			return
		}
		if _, err := r.wait(r.closing, f); !errors.Is(err, ErrUnavailable) {
			return
		}
		pause = min(pause, r.maxStaleness/2)
		select {
		case <-time.After(r.jittered(pause)):
		case <-r.closing.Done():
			return
		}
	}
}

// startRefresh returns nil if the entry is not there any more, or its session is over.
func (r *RoutingStorage) startRefresh(e *entry) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.local.peekLocked(e.id) != e || !e.alive(r.clock.now()) {
		return nil
	}
	r.stats.refreshes.Add(1)
	return r.startLocked(context.Background(), e.id)
}
