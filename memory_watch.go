package session

import (
	"context"
	"fmt"
	"time"
)

// maxBacklog is how many events wait for a watcher that is slow. Beyond it they are given up, and the watcher is told
// that it has missed some.
const maxBacklog = 4096

// memoryWatch is one Watch call. Guarded by MemoryStorage.mu.
type memoryWatch struct {
	backlog []Event
	wake    chan struct{} // holds one element while there may be a backlog
}

// Watch implements [Watcher].
func (m *MemoryStorage) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	if heartbeat <= 0 {
		panic(fmt.Sprintf("session: Watch: heartbeat %v: must be positive", heartbeat))
	}
	w := &memoryWatch{backlog: []Event{Gap{}}, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	m.watches[w] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watches, w)
	}()

	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		for _, e := range m.takeBacklog(w) {
			fn(e)
		}
		select {
		case <-w.wake:
		case <-beat.C:
			// The backlog is taken after the time is read, and under the lock that writes hold until they are in it.
			asOf := time.Now()
			for _, e := range m.takeBacklog(w) {
				fn(e)
			}
			fn(Alive{AsOf: asOf})
		case <-ctx.Done():
			return fail("watch", ctx.Err())
		}
	}
}

func (m *MemoryStorage) takeBacklog(w *memoryWatch) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	backlog := w.backlog
	w.backlog = nil
	return backlog
}

func (m *MemoryStorage) announceLocked(e Event) {
	for w := range m.watches {
		if len(w.backlog) >= maxBacklog {
			w.backlog = []Event{Gap{}}
		}
		w.backlog = append(w.backlog, e)
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
