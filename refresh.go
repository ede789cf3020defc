package session

import (
	"context"
	"errors"
	"slices"
	"time"
)

// refreshRetry is the pause after a failed refresh. It doubles up to a half of MaxStaleness, less a half of it at
// random.
const refreshRetry = 50 * time.Millisecond

// refresher renews entries ahead of need, in the background. That is also what keeps sessions alive in the remote while
// their hits are answered here. An entry that is due is renewed even if no other hit comes: its next one may come when
// it would be too late. Guarded by RoutingStorage.mu.
//
// Nobody waits in vain. The first one has a worker started, which lets others join before it takes them. A worker that
// takes some and leaves others starts the next. At the limit, workers take what waits as they finish. And a worker is
// held up by one entry at most: those that could not be renewed with others are for any of them.
type refresher struct {
	limit     int // of workers
	workers   int
	gathering bool     // one of them lets others join
	waiting   []*entry // for a worker; each is due once
	alone     []*entry // to be loaded one by one

	batch  int           // how many entries a worker takes at a time
	gather time.Duration // for how long it lets others join; entries are due that much earlier
}

// refresh has an entry renewed, if nobody has asked for that since it became due.
func (r *RoutingStorage) refresh(e *entry, due int64) {
	if !e.refreshAt.CompareAndSwap(due, int64(never)) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.refresher.waiting = append(r.refresher.waiting, e)
	if len(r.refresher.waiting) == 1 {
		r.startWorkerLocked(true)
	}
}

func (r *RoutingStorage) startWorkerLocked(gathers bool) {
	q := &r.refresher
	if q.workers == q.limit {
		return
	}
	q.workers++
	var pause time.Duration
	if gathers {
		q.gathering = true
		pause = q.gather
	}
	r.background.Go(func() {
		r.sleep(pause)
		for due := r.takeDue(gathers); len(due) > 0; due = r.takeDue(false) {
			r.renewAll(due)
		}
	})
}

// takeDue returns what a worker has to renew, or nothing: then the worker ends.
func (r *RoutingStorage) takeDue(gathered bool) (due []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := &r.refresher
	if gathered {
		q.gathering = false
	}
	switch {
	case len(q.alone) > 0:
		due = takeFirst(&q.alone, 1)
	case len(q.waiting) > 0 && !q.gathering:
		due = takeFirst(&q.waiting, q.batch)
	default:
		q.workers--
		return nil
	}
	if len(q.alone) > 0 || len(q.waiting) > 0 && !q.gathering {
		r.startWorkerLocked(false)
	}
	return due
}

func takeFirst(queue *[]*entry, most int) []*entry {
	n := min(most, len(*queue))
	first := slices.Clone((*queue)[:n])
	clear((*queue)[:n]) // for the garbage collector
	*queue = (*queue)[n:]
	return first
}

// renewAll asks for all entries at once, and leaves those to be loaded that this was no answer for.
func (r *RoutingStorage) renewAll(due []*entry) {
	if len(due) == 1 {
		r.renew(due[0])
		return
	}
	others := r.revalidate(due)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresher.alone = append(r.refresher.alone, others...)
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
		r.sleep(r.jittered(pause))
	}
}

// startRefresh returns nil if the entry is not there any more, or its session is over.
func (r *RoutingStorage) startRefresh(e *entry) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.renewableLocked(e) {
		return nil
	}
	r.stats.refreshes.Add(1)
	return r.startLocked(context.Background(), e.id)
}

func (r *RoutingStorage) renewableLocked(e *entry) bool {
	return !r.closed && r.local.get(e.id) == e && e.alive(r.clock.now())
}

// sleep ends early at Close.
func (r *RoutingStorage) sleep(pause time.Duration) {
	if pause <= 0 {
		return
	}
	select {
	case <-time.After(pause):
	case <-r.closing.Done():
	}
}
