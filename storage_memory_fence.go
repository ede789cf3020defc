package session

import (
	"context"
	"crypto/rand"
	"maps"
	"strconv"
	"time"

	"github.com/seed34611480/session/internal/fence"
)

// Hold implements [Fencer].
func (m *MemoryStorage) Hold(maxStaleness time.Duration) LeaseHolder {
	return &memoryHolder{m, fence.New(maxStaleness)}
}

// memoryHolders is the registry of package fence: the holders that may have leases, by the names of their watches.
// Guarded by MemoryStorage.mu.
type memoryHolders map[string]*memoryEntry

type memoryEntry struct {
	watcher *watcher
	lease   time.Duration
	beats   int
}

func (e *memoryEntry) note() string { return strconv.Itoa(e.beats) }

type memoryHolder struct {
	storage *MemoryStorage
	fence   *fence.Holder
}

// The storage is one server, and its registry is never lost.
const (
	onlyLink       = "0"
	memoryRegistry = "memory"
)

func (h *memoryHolder) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	checkHeartbeat(heartbeat)
	m, name := h.storage, rand.Text()
	entry := &memoryEntry{watcher: m.events.join(), lease: h.fence.Lease()}
	fences := &memoryFences{storage: m, holder: h.fence, name: name, own: entry}
	watch := h.fence.Begin(fences, name, []string{onlyLink})
	fences.watch = watch
	defer watch.End()
	beat := func() {
		watch.Note()
		m.mu.Lock()
		entry.beats++
		if m.holders == nil {
			m.holders = make(memoryHolders)
		}
		m.holders[name] = entry
		m.mu.Unlock()
		watch.Told(memoryRegistry)
		watch.Beat(ctx)
	}
	return m.watch(ctx, heartbeat, func(e Event) {
		fn(e)
		switch e.(type) {
		case Gap:
			watch.Gap()
		case Alive:
			watch.Proven()
		}
	}, entry.watcher, beat)
}

func (h *memoryHolder) Fence(ctx context.Context) error {
	if err := h.fence.Fence(ctx); err != nil {
		return opErr("fence", err)
	}
	return nil
}

func (h *memoryHolder) Leave(context.Context) error {
	h.fence.Wait()
	names := h.fence.Names()
	h.storage.mu.Lock()
	defer h.storage.mu.Unlock()
	for _, name := range names {
		delete(h.storage.holders, name)
	}
	h.fence.Removed(names)
	return nil
}

// memoryFences carries the questions of a holder's fences. They cost no time, and do not fail.
type memoryFences struct {
	storage *MemoryStorage
	holder  *fence.Holder
	watch   *fence.Watch
	name    string
	own     *memoryEntry
}

// Mark implements [fence.Server], like the methods that follow.
func (f *memoryFences) Mark(_ context.Context, id string) (fence.Marked, error) {
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	marked := fence.Marked{Look: f.lookLocked()}
	holders := maps.Clone(f.storage.holders)
	if holders == nil {
		holders = make(memoryHolders)
	}
	holders[f.name] = f.own
	for name, e := range holders {
		to := fence.Link{Holder: name, Number: onlyLink}
		arrived := func() { f.holder.Answered(id, to) }
		if name == f.name {
			arrived = func() { f.watch.Marked(id, onlyLink) }
		}
		if e.watcher.mark(arrived) {
			marked.Sent = append(marked.Sent, to)
		} else { // its watch has ended, its lease perhaps not
			marked.Silent = append(marked.Silent, to)
		}
	}
	return marked, nil
}

func (f *memoryFences) Look(context.Context) (fence.Look, error) {
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	return f.lookLocked(), nil
}

func (f *memoryFences) lookLocked() fence.Look {
	look := fence.Look{Registry: memoryRegistry, Holders: make(map[string]fence.Entry)}
	for name, e := range f.storage.holders {
		look.Holders[name] = fence.Entry{Note: e.note(), Lease: e.lease}
	}
	return look
}

func (f *memoryFences) Forget(_ context.Context, notes map[string]string) error {
	f.storage.mu.Lock()
	defer f.storage.mu.Unlock()
	for name, note := range notes {
		if e := f.storage.holders[name]; e != nil && (note == "" || note == e.note()) {
			delete(f.storage.holders, name)
		}
	}
	return nil
}

func (f *memoryFences) SameMasters(context.Context) (bool, error) { return true, nil }
