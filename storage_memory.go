package session

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// MemoryStorage keeps sessions in this process: for a single replica, and for tests. It is safe for concurrent use,
// needs no Close, and starts no goroutine.
//
// Each write removes the sessions that have been idle for the TTL, at a cost that does not grow with the number of
// sessions. So memory is bounded by the sessions that were used within one TTL, and no sweep is needed.
type MemoryStorage struct {
	ttl     time.Duration
	maxSize int

	mu           sync.Mutex // protects following fields
	lastRevision uint64
	byUse        *simplelru.LRU[string, *record] // the oldest is the session that has been idle longest
	watches      map[*memoryWatch]struct{}
}

// record is one stored session. The snapshot is never modified, because Load hands it out.
type record struct {
	snapshot *Session
	revision uint64
	usedAt   time.Time
}

// NewMemoryStorage returns an empty storage. A session in it is gone after ttl without a Load or Store. It panics if
// ttl is not positive.
func NewMemoryStorage(ttl time.Duration, opts ...MemoryOption) *MemoryStorage {
	if ttl <= 0 {
		panic(fmt.Sprintf("session: NewMemoryStorage: ttl %v: must be positive", ttl))
	}
	byUse, err := simplelru.NewLRU[string, *record](math.MaxInt, nil) // bounded by the TTL, not by a number
	if err != nil {
		panic(err) // cannot happen: only a size <= 0 is refused
	}
	o := memoryOptions{maxSize: defaultMaxSize}
	for _, opt := range opts {
		opt.applyMemory(&o)
	}
	return &MemoryStorage{ttl: ttl, maxSize: o.maxSize, byUse: byUse, watches: make(map[*memoryWatch]struct{})}
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
		if current.revision != base {
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
	found := m.getLocked(id, now)
	if found == nil {
		return nil, opErr("load", ErrNotFound)
	}
	found.usedAt = now
	m.byUse.Get(id) // marks it as the most recently used
	if found.snapshot.Revision() != found.revision {
		// A caller stored the snapshot in another storage, which stamped it: hand out a fresh copy.
		found.snapshot = found.snapshot.snapshot(found.revision)
	}
	return found.snapshot, nil
}

// Take implements [Taker].
func (m *MemoryStorage) Take(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "take", id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.getLocked(id, time.Now())
	if found == nil {
		return nil, opErr("take", ErrNotFound)
	}
	m.byUse.Remove(id)
	m.announceLocked(Removed{ID: id})
	return found.snapshot, nil
}

// Delete implements [Storage].
func (m *MemoryStorage) Delete(ctx context.Context, id string) error {
	if err := checkCall(ctx, "delete", id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byUse.Remove(id)
	m.announceLocked(Removed{ID: id}) // even if there was none: a cache may still hold a copy
	return nil
}

// DeleteExpired implements [Storage]. It visits the sessions that it removes, and one more.
func (m *MemoryStorage) DeleteExpired(ctx context.Context, before time.Time) error {
	if err := ctx.Err(); err != nil {
		return opErr("delete expired", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removeIdleLocked(m.aliveSince(time.Now()))
	for oldest := m.oldestLocked(); oldest != nil && oldest.usedAt.Before(before); oldest = m.oldestLocked() {
		m.byUse.RemoveOldest()
		m.announceLocked(Removed{ID: oldest.snapshot.id}) // before its TTL is over
	}
	return nil
}

func (m *MemoryStorage) check(ctx context.Context, op string, s *Session) error {
	if s == nil {
		return opErr(op, ErrInvalidID)
	}
	if err := checkCall(ctx, op, s.id); err != nil {
		return err
	}
	if s.size() > m.maxSize {
		return opErr(op, ErrTooLarge)
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
	// Each write removes the sessions that have become idle: amortized, one removal per write.
	m.removeIdleLocked(m.aliveSince(now))
	// The revision is the time in microseconds. It runs ahead of the clock only if writes come faster than its ticks. As
	// in Redis, a revision is never used twice, not even after a delete.
	m.lastRevision = max(m.lastRevision+1, uint64(now.UnixMicro()))
	m.byUse.Add(s.id, &record{snapshot: s.snapshot(m.lastRevision), revision: m.lastRevision, usedAt: now})
	Stamp(s, m.lastRevision)
	m.announceLocked(Changed{ID: s.id, Revision: m.lastRevision})
}

// aliveSince returns the earliest instant of its last use for a session that is alive now.
func (m *MemoryStorage) aliveSince(now time.Time) time.Time { return now.Add(1 - m.ttl) }

// removeIdleLocked removes the sessions that were last used before the given instant.
func (m *MemoryStorage) removeIdleLocked(before time.Time) {
	for oldest := m.oldestLocked(); oldest != nil && oldest.usedAt.Before(before); oldest = m.oldestLocked() {
		m.byUse.RemoveOldest()
	}
}

func (m *MemoryStorage) oldestLocked() *record {
	_, oldest, _ := m.byUse.GetOldest()
	return oldest
}

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
			return opErr("watch", ctx.Err())
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
