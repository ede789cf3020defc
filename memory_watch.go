package session

import (
	"context"
	"fmt"
	"time"
)

// maxBacklog is the number of events that may wait for a slow watcher. Beyond it they are dropped, and the watcher gets
// a Gap.
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
			// Read the time before the backlog. Writes put their events into the backlog under the same lock, so every write
			// that returned before asOf is in it.
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
