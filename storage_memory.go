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

	events feed // changes are announced while mu is held, so in their order
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
	o := memoryOptions{maxSize: defaultMaxSize}
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
	if heartbeat <= 0 {
		panic(fmt.Sprintf("session: Watch: heartbeat %v: must be positive", heartbeat))
	}
	w := m.events.join()
	defer w.leave()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		_ = w.deliver(fn) // the events of a MemoryStorage do not end
		select {
		case <-w.wake:
		case <-beat.C:
			// Read the time before the backlog. A write announces its event before it returns, so every write that returned
			// before asOf is in the backlog, or was delivered.
			asOf := time.Now()
			_ = w.deliver(fn)
			fn(Alive{AsOf: asOf})
		case <-ctx.Done():
			return opErr("watch", ctx.Err())
		}
	}
}
