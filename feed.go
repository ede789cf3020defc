package session

import "sync"

// feed passes events on to any number of Watch calls. Each has a backlog of its own, so a slow one delays neither the
// others nor what announces. The zero value is ready for use.
type feed struct {
	mu       sync.Mutex // protects following fields, and the watchers'
	watchers map[*watcher]struct{}
	over     error // why no more events come; nil while they may
}

// watcher is one Watch call.
type watcher struct {
	feed    *feed
	backlog []Event
	bytes   int           // of the ids in backlog
	wake    chan struct{} // holds one element while there may be a backlog
}

// The events that may wait for a slow watcher, and the bytes of their ids. Beyond these they are dropped, and the
// watcher gets a Gap, for which a RoutingStorage loads all its local sessions again. A sweep of 50,000 sessions should
// not have that effect. What waits for a watcher that is stuck is at most about 20 MiB.
const (
	maxBacklog      = 1 << 16
	maxBacklogBytes = 16 << 20
)

// join returns a watcher that gets a Gap, and everything that is announced from now on.
func (f *feed) join() *watcher {
	w := &watcher{feed: f, backlog: []Event{Gap{}}, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = make(map[*watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	return w
}

func (w *watcher) leave() {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	delete(w.feed.watchers, w)
}

// announce adds an event to the backlog of each watcher. It waits for none of them.
func (f *feed) announce(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.addLocked(e)
		w.wakeLocked()
	}
}

// end tells the watchers, also those that join later, that no more events come. The last reason counts.
func (f *feed) end(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = why
	for w := range f.watchers {
		w.wakeLocked()
	}
}

func (w *watcher) addLocked(e Event) {
	var bytes int
	switch e := e.(type) {
	case Changed:
		bytes = len(e.ID)
	case Removed:
		bytes = len(e.ID)
	case Alive: // a later proof includes the one before it
		if last := len(w.backlog) - 1; last >= 0 {
			if _, ok := w.backlog[last].(Alive); ok {
				w.backlog[last] = e
				return
			}
		}
	}
	if len(w.backlog) >= maxBacklog || w.bytes+bytes > maxBacklogBytes {
		w.backlog, w.bytes = []Event{Gap{}}, 0
	}
	w.backlog = append(w.backlog, e)
	w.bytes += bytes
}

func (w *watcher) wakeLocked() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// deliver calls fn for what has waited. Once the feed is over, it returns the reason instead.
func (w *watcher) deliver(fn func(Event)) error {
	backlog, err := w.take()
	if err != nil {
		return err
	}
	for _, e := range backlog {
		fn(e)
	}
	return nil
}

func (w *watcher) take() ([]Event, error) {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	backlog := w.backlog
	w.backlog, w.bytes = nil, 0
	return backlog, w.feed.over
}
