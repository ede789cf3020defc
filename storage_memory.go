package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed34611480/session/internal/fence"
)

// MemoryStorage keeps sessions in this process: for a single replica, and for tests. It is safe for concurrent use,
// needs no Close, and starts no goroutine.
//
// Each call removes a few of the sessions that have been idle for the TTL, at a cost that does not grow with the number
// of sessions. So memory is bounded by the sessions that were used within one TTL, and after a flood it is given back
// as the storage is used: no sweep is needed. A storage that is not used at all keeps what it has until DeleteExpired.
type MemoryStorage struct {
	ttl     time.Duration
	maxSize int

	mu           sync.Mutex // protects following fields
	lastRevision uint64
	byUse        *simplelru.LRU[string, *record] // the oldest is the session that has been idle longest
	peak         int                             // the most sessions that byUse has held since it was made

	events  feed // changes are announced while mu is held, so in their order
	holders memoryHolders
}

// record is one stored session. The snapshot is never handed out, so its revision stays the stored one.
type record struct {
	snapshot *Session
	usedAt   time.Time
}

// NewMemoryStorage returns an empty storage. A session in it is gone after ttl without a Load or Store. It panics if
// ttl is not positive.
func NewMemoryStorage(ttl time.Duration, opts ...MemoryOption) *MemoryStorage {
	if ttl <= 0 {
		panic(fmt.Sprintf("session: NewMemoryStorage: ttl %v: must be positive", ttl))
	}
	o := memoryOptions{storageOptions{maxSize: defaultMaxSize}}
	for _, opt := range opts {
		opt.applyMemory(&o)
	}
	return &MemoryStorage{ttl: ttl, maxSize: o.maxSize, byUse: newByUse()}
}

func newByUse() *simplelru.LRU[string, *record] {
	byUse, err := simplelru.NewLRU[string, *record](math.MaxInt, nil) // bounded by the TTL, not by a number
	if err != nil {
		panic(err) // cannot happen: only a size <= 0 is refused
	}
	return byUse
}

// TTL returns the idle lifetime of the sessions.
func (m *MemoryStorage) TTL() time.Duration { return m.ttl }

// Store implements [Storage].
func (m *MemoryStorage) Store(ctx context.Context, s *Session) error {
	if err := m.check(ctx, "store", s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if s.Expired(now) {
		return opErr("store", ErrNotFound)
	}
	if base := s.Revision(); base != 0 {
		current := m.getLocked(s.id, now)
		if current == nil {
			return opErr("store", ErrNotFound)
		}
		if current.snapshot.Revision() != base {
			return opErr("store", ErrConflict)
		}
	}
	m.putLocked(s, now)
	return nil
}

// Create implements [Creator].
func (m *MemoryStorage) Create(ctx context.Context, s *Session) error {
	if err := m.check(ctx, "create", s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if s.Expired(now) {
		return opErr("create", ErrNotFound)
	}
	if m.getLocked(s.id, now) != nil {
		return opErr("create", ErrExists)
	}
	m.putLocked(s, now)
	return nil
}

// Load implements [Storage].
func (m *MemoryStorage) Load(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "load", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeIdleLocked(now)
	found := m.getLocked(id, now)
	if found == nil {
		return nil, opErr("load", ErrNotFound)
	}
	found.usedAt = now
	m.byUse.Get(id) // marks it as the most recently used
	// A copy for each caller: one that stores it in another storage has it stamped there, and the others read a revision
	// that is not of this storage.
	return found.snapshot.clone(), nil
}

// Peek implements [Peeker].
func (m *MemoryStorage) Peek(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "peek", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeIdleLocked(now)
	found := m.getLocked(id, now)
	if found == nil {
		return nil, opErr("peek", ErrNotFound)
	}
	return found.snapshot.clone(), nil
}

// Take implements [Taker].
func (m *MemoryStorage) Take(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "take", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeIdleLocked(now)
	found := m.getLocked(id, now)
	if found == nil {
		return nil, opErr("take", ErrNotFound)
	}
	m.byUse.Remove(id)
	m.events.announce(Removed{ID: id, Revision: found.snapshot.Revision()})
	return found.snapshot, nil
}

// Delete implements [Storage].
func (m *MemoryStorage) Delete(ctx context.Context, id string) error {
	if err := checkCall(ctx, "delete", id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeIdleLocked(now)
	removed := Removed{ID: id}
	if found := m.getLocked(id, now); found != nil {
		removed.Revision = found.snapshot.Revision()
	}
	m.byUse.Remove(id)
	m.events.announce(removed) // even if there was none: a cache may still hold a copy
	return nil
}

// DeleteExpired implements [Storage]. It visits the sessions that it removes, and one more. Other calls, and watchers,
// have their turn after every thousand.
func (m *MemoryStorage) DeleteExpired(ctx context.Context, before time.Time) error {
	const turn = 1000
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return opErr("delete expired", err)
		}
		more = m.deleteSomeExpired(before, turn)
	}
	return nil
}

func (m *MemoryStorage) deleteSomeExpired(before time.Time, limit int) (more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.shrinkLocked()
	aliveSince := m.aliveSince(time.Now())
	for range limit {
		oldest := m.oldestLocked()
		switch {
		case oldest == nil:
			return false
		case oldest.usedAt.Before(aliveSince):
			m.byUse.RemoveOldest()
		case oldest.usedAt.Before(before):
			m.byUse.RemoveOldest()
			m.events.announce(Removed{oldest.snapshot.id, oldest.snapshot.Revision()}) // before its TTL is over
		default:
			return false
		}
	}
	return true
}

func (m *MemoryStorage) check(ctx context.Context, op string, s *Session) error {
	if err := checkSession(ctx, op, s); err != nil {
		return err
	}
	if size := s.size(); size > m.maxSize {
		return tooLarge(op, size, m.maxSize)
	}
	return nil
}

// getLocked returns the live session under an id, or nil. It does not count as a use.
func (m *MemoryStorage) getLocked(id string, now time.Time) *record {
	found, ok := m.byUse.Peek(id)
	if !ok {
		return nil
	}
	if found.usedAt.Before(m.aliveSince(now)) || found.snapshot.Expired(now) {
		m.byUse.Remove(id)
		return nil
	}
	return found
}

func (m *MemoryStorage) putLocked(s *Session, now time.Time) {
	m.removeSomeIdleLocked(now)
	// The revision is the time in microseconds. It runs ahead of the clock only if writes come faster than its ticks. As
	// in Redis, a revision is never used twice, not even after a delete.
	m.lastRevision = max(m.lastRevision+1, uint64(now.UnixMicro()))
	m.byUse.Add(s.id, &record{snapshot: s.snapshot(m.lastRevision), usedAt: now})
	m.peak = max(m.peak, m.byUse.Len())
	Stamp(s, m.lastRevision)
	m.events.announce(Changed{ID: s.id, Revision: m.lastRevision})
}

// aliveSince returns the earliest instant of its last use for a session that is alive now.
func (m *MemoryStorage) aliveSince(now time.Time) time.Time { return now.Add(1 - m.ttl) }

// removeSomeIdleLocked removes a few sessions that have been idle for the TTL: more than one call can add, so that they
// do not pile up, and no call has to pay for a flood.
func (m *MemoryStorage) removeSomeIdleLocked(now time.Time) {
	const few = 8
	aliveSince := m.aliveSince(now)
	for range few {
		oldest := m.oldestLocked()
		if oldest == nil || !oldest.usedAt.Before(aliveSince) {
			break
		}
		m.byUse.RemoveOldest()
	}
	m.shrinkLocked()
}

// shrinkLocked makes byUse anew when it is nearly empty after it was large: a map does not shrink by itself. It copies
// one session for seven that were removed.
func (m *MemoryStorage) shrinkLocked() {
	const small = 1024
	if m.peak <= small || m.byUse.Len() > m.peak/8 {
		return
	}
	old := m.byUse
	m.byUse, m.peak = newByUse(), old.Len()
	for _, id := range old.Keys() { // from the oldest
		kept, _ := old.Peek(id)
		m.byUse.Add(id, kept)
	}
}

func (m *MemoryStorage) oldestLocked() *record {
	_, oldest, _ := m.byUse.GetOldest()
	return oldest
}

// Watch implements [Watcher].
func (m *MemoryStorage) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	checkHeartbeat(heartbeat)
	return m.watch(ctx, heartbeat, fn, m.events.join(), func() {})
}

// watch delivers events, and calls beat once per heartbeat, before what it proves.
func (m *MemoryStorage) watch(
	ctx context.Context, heartbeat time.Duration, fn func(Event), w *watcher, beat func(),
) error {
	defer w.leave()
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		_ = w.deliver(fn) // the events of a MemoryStorage do not end
		select {
		case <-w.wake:
		case <-ticker.C:
			// Read the time before the backlog. A write announces its event before it returns, so every write that returned
			// before asOf is in the backlog, or was delivered.
			asOf := time.Now()
			beat()
			_ = w.deliver(fn)
			fn(Alive{AsOf: asOf})
		case <-ctx.Done():
			return opErr("watch", ctx.Err())
		}
	}
}

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
