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
// Sessions that are over are removed as the storage is used, at no cost that grows with their number, so its memory is
// bounded by what was used within one TTL. Nothing has to be swept.
type MemoryStorage struct {
	ttl     time.Duration
	maxSize int

	mu           sync.Mutex // protects following fields
	lastRevision uint64
	byUse        *simplelru.LRU[string, *record] // the session that was idle for longest is the oldest
	watches      map[*memoryWatch]struct{}
}

// record is one stored session. The snapshot is never modified: it is what Load hands out.
type record struct {
	snapshot *Session
	revision uint64
	usedAt   time.Time
}

// MemoryOption configures a [MemoryStorage].
type MemoryOption interface{ applyMemory(m *MemoryStorage) }

// NewMemoryStorage returns an empty storage whose sessions are gone after ttl without a Load or Store. It panics when
// ttl is not positive.
func NewMemoryStorage(ttl time.Duration, opts ...MemoryOption) *MemoryStorage {
	if ttl <= 0 {
		panic(fmt.Sprintf("session: NewMemoryStorage: ttl %v: must be positive", ttl))
	}
	byUse, err := simplelru.NewLRU[string, *record](math.MaxInt, nil) // the TTL bounds it, not a number
	if err != nil {
		panic(err) // only a size <= 0 is refused
	}
	m := &MemoryStorage{ttl: ttl, maxSize: defaultMaxSize, byUse: byUse, watches: make(map[*memoryWatch]struct{})}
	for _, opt := range opts {
		opt.applyMemory(m)
	}
	return m
}

// TTL returns how long a session lives without being used.
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
		return fail("store", ErrNotFound)
	}
	if base := s.Revision(); base != 0 {
		current := m.getLocked(s.id, now)
		if current == nil {
			return fail("store", ErrNotFound)
		}
		if current.revision != base {
			return fail("store", ErrConflict)
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
		return fail("create", ErrNotFound)
	}
	if m.getLocked(s.id, now) != nil {
		return fail("create", ErrExists)
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
		return nil, fail("load", ErrNotFound)
	}
	found.usedAt = now
	m.byUse.Get(id) // which makes it the youngest
	if found.snapshot.Revision() != found.revision {
		// A caller has stored what it had from here in another storage, which stamped it.
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
		return nil, fail("take", ErrNotFound)
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
	m.announceLocked(Removed{ID: id}) // also when there was none: somebody may still have a copy
	return nil
}

// DeleteExpired implements [Storage]. It looks at the sessions that it removes, and at one more.
func (m *MemoryStorage) DeleteExpired(ctx context.Context, before time.Time) error {
	if err := ctx.Err(); err != nil {
		return fail("delete expired", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removeIdleLocked(m.aliveSince(time.Now()))
	for oldest := m.oldestLocked(); oldest != nil && oldest.usedAt.Before(before); oldest = m.oldestLocked() {
		m.byUse.RemoveOldest()
		m.announceLocked(Removed{ID: oldest.snapshot.id}) // ahead of its time
	}
	return nil
}

func (m *MemoryStorage) check(ctx context.Context, op string, s *Session) error {
	if s == nil {
		return fail(op, ErrInvalidID)
	}
	if err := checkCall(ctx, op, s.id); err != nil {
		return err
	}
	if s.size() > m.maxSize {
		return fail(op, ErrTooLarge)
	}
	return nil
}

// getLocked returns what is stored under id and still alive, or nil. It does not count as a use.
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
	// Every write pays for removing what has become idle: amortized, one removal for each write.
	m.removeIdleLocked(m.aliveSince(now))
	// Ahead of the clock only when writes come faster than its ticks. The same rule as in Redis: a revision is never
	// used twice, not even over a delete.
	m.lastRevision = max(m.lastRevision+1, uint64(now.UnixMicro()))
	m.byUse.Add(s.id, &record{snapshot: s.snapshot(m.lastRevision), revision: m.lastRevision, usedAt: now})
	Stamp(s, m.lastRevision)
	m.announceLocked(Changed{ID: s.id, Revision: m.lastRevision})
}

// aliveSince returns when a session must have been used last to be alive now.
func (m *MemoryStorage) aliveSince(now time.Time) time.Time { return now.Add(1 - m.ttl) }

// removeIdleLocked removes what was last used before the given instant.
func (m *MemoryStorage) removeIdleLocked(before time.Time) {
	for oldest := m.oldestLocked(); oldest != nil && oldest.usedAt.Before(before); oldest = m.oldestLocked() {
		m.byUse.RemoveOldest()
	}
}

func (m *MemoryStorage) oldestLocked() *record {
	_, oldest, _ := m.byUse.GetOldest()
	return oldest
}
