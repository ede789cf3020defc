package session

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/seed34611480/session/internal/expiry"
)

// MemoryStorage keeps sessions in this process: for a single replica, and for tests. It is safe for concurrent use,
// needs no Close, and starts no goroutine but those of [KeepAlive].
//
// Each call removes a few of the sessions that are over, at a cost that is at most the logarithm of their number. So
// memory is bounded by the sessions that are not over, and after a flood it is given back as the storage is used: no
// sweep is needed. A storage that is not used at all keeps what it has until DeleteExpired.
//
// It finds the sessions of a principal without an option, for [Revoker] and [Lister].
type MemoryStorage struct {
	ttl     time.Duration
	options storageOptions

	mu           sync.Mutex // protects following fields
	lastRevision uint64
	records      *expiry.Table[*Session] // grouped by principal

	events  feed // changes are announced while mu is held, so in their order
	holders memoryHolders

	keeper keeper
}

// record is one stored session. Its Value is never handed out, so the revision of that stays the stored one.
type record = expiry.Entry[*Session]

// NewMemoryStorage returns an empty storage. A session in it is gone after ttl without a Load or Store, if it has no
// [Session.IdleTimeout] of its own. It panics if ttl is not positive.
func NewMemoryStorage(ttl time.Duration, opts ...MemoryOption) *MemoryStorage {
	if ttl <= 0 {
		panic(fmt.Sprintf("session: NewMemoryStorage: ttl %v: must be positive", ttl))
	}
	o := memoryOptions{storageOptions{maxSize: defaultMaxSize}}
	for _, opt := range opts {
		opt.applyMemory(&o)
	}
	return &MemoryStorage{ttl: ttl, options: o.storageOptions, records: expiry.New[*Session](ttl)}
}

// TTL returns the idle lifetime of the sessions that have no idle time-out of their own.
func (m *MemoryStorage) TTL() time.Duration { return m.ttl }

// MaxLifetime implements [Limiter]. It is that of [WithMaxLifetime].
func (m *MemoryStorage) MaxLifetime() time.Duration { return m.options.maxLifetime }

// Store implements [Storage].
func (m *MemoryStorage) Store(ctx context.Context, s *Session) error {
	base := s.Revision()
	return m.write(ctx, "store", s, base == 0, func(current *record) error {
		switch {
		case base == 0:
			return nil
		case current == nil:
			return opErr("store", ErrNotFound)
		case current.Value.Revision() != base:
			return opErr("store", ErrConflict)
		}
		return nil
	})
}

// Create implements [Creator].
func (m *MemoryStorage) Create(ctx context.Context, s *Session) error {
	return m.write(ctx, "create", s, true, func(current *record) error {
		if current != nil {
			return opErr("create", ErrExists)
		}
		return nil
	})
}

// Replace implements [Replacer].
func (m *MemoryStorage) Replace(ctx context.Context, s *Session) error {
	return m.write(ctx, "replace", s, true, func(current *record) error {
		if current == nil {
			return opErr("replace", ErrNotFound)
		}
		return nil
	})
}

// write stores a session, if what is stored under its id allows that.
func (m *MemoryStorage) write(
	ctx context.Context, op string, s *Session, isNew bool, allow func(current *record) error,
) error {
	if err := checkSession(ctx, op, s); err != nil {
		return err
	}
	if size := s.size(); size > m.options.maxSize {
		return tooLarge(op, size, m.options.maxSize)
	}
	own := s.limited(m.options.maxLifetime)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkLifetime(op, own, isNew); err != nil {
		return err
	}
	now := time.Now()
	m.removeSomeLocked(now)
	current := m.getLocked(own.id, now)
	if err := allow(current); err != nil {
		return err
	}
	if err := m.makeRoomLocked(op, own, current, now); err != nil {
		return err
	}
	// The revision is the time in microseconds. It runs ahead of the clock only if writes come faster than its ticks. As
	// in Redis, a revision is never used twice, not even after a delete.
	m.lastRevision = max(m.lastRevision+1, uint64(now.UnixMicro()))
	lifetime := expiry.Lifetime{Idle: own.idleTimeout, End: own.expiresAt}
	m.records.Put(own.id, own.principal, own.snapshot(m.lastRevision), lifetime, now)
	Stamp(s, m.lastRevision)
	m.events.announce(Changed{ID: s.id, Revision: m.lastRevision})
	return nil
}

// Load implements [Storage].
func (m *MemoryStorage) Load(ctx context.Context, id string) (*Session, error) {
	return m.read(ctx, "load", id, func(found *record, now time.Time) *Session {
		m.records.Use(found, now)
		// A copy for each caller: one that stores it in another storage has it stamped there, and the others read a
		// revision that is not of this storage.
		return found.Value.clone()
	})
}

// Peek implements [Peeker].
func (m *MemoryStorage) Peek(ctx context.Context, id string) (*Session, error) {
	return m.read(ctx, "peek", id, func(found *record, _ time.Time) *Session { return found.Value.clone() })
}

// Take implements [Taker].
func (m *MemoryStorage) Take(ctx context.Context, id string) (*Session, error) {
	return m.read(ctx, "take", id, func(found *record, _ time.Time) *Session {
		m.removeLocked(found)
		return found.Value
	})
}

// read returns what get, which is called under the lock, makes of the live session under an id.
func (m *MemoryStorage) read(
	ctx context.Context, op, id string, get func(found *record, now time.Time) *Session,
) (*Session, error) {
	if err := checkCall(ctx, op, id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeLocked(now)
	found := m.getLocked(id, now)
	if found == nil {
		return nil, opErr(op, ErrNotFound)
	}
	return get(found, now), nil
}

// Delete implements [Storage].
func (m *MemoryStorage) Delete(ctx context.Context, id string) error {
	if err := checkCall(ctx, "delete", id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.removeSomeLocked(now)
	if found := m.getLocked(id, now); found != nil {
		m.removeLocked(found)
	} else {
		m.events.announce(Removed{ID: id}) // a cache may still hold a copy
	}
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
	now := time.Now()
	for range limit {
		if over := m.records.Over(now); over != nil {
			m.records.Remove(over)
			continue
		}
		idlest := m.records.Idlest()
		if idlest == nil || !idlest.UsedAt.Before(before) {
			return false
		}
		m.removeLocked(idlest)
	}
	return true
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

// getLocked returns the live session under an id, or nil. It does not count as a use.
func (m *MemoryStorage) getLocked(id string, now time.Time) *record {
	found := m.records.Get(id)
	if found != nil && found.Over(now) {
		m.records.Remove(found)
		return nil
	}
	return found
}

// removeLocked removes a live session, and announces that. One that is over is removed in silence: all who have a copy
// know when it is over.
func (m *MemoryStorage) removeLocked(r *record) {
	m.records.Remove(r)
	m.events.announce(Removed{ID: r.ID, Revision: r.Value.Revision()})
}

// removeSomeLocked removes a few sessions that are over: more than one call can add, so that they do not pile up, and
// no call has to pay for a flood.
func (m *MemoryStorage) removeSomeLocked(now time.Time) {
	const few = 8
	for range few {
		over := m.records.Over(now)
		if over == nil {
			return
		}
		m.records.Remove(over)
	}
}

// Revoke implements [Revoker]. Other calls, and watchers, have their turn after every thousand sessions.
func (m *MemoryStorage) Revoke(ctx context.Context, principal string) (int, error) {
	const turn = 1000
	principal = validText(principal)
	revoked := 0
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return revoked, opErr("revoke", err)
		}
		var some int
		some, more = m.revokeSome(principal, turn)
		revoked += some
	}
	return revoked, nil
}

// revokeSome removes up to limit sessions of a principal. Those that are over do not count.
func (m *MemoryStorage) revokeSome(principal string, limit int) (revoked int, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, removed := time.Now(), 0
	for r := range m.records.Group(principal) {
		if removed++; removed > limit {
			return revoked, true
		}
		if r.Over(now) {
			m.records.Remove(r)
			continue
		}
		m.removeLocked(r)
		revoked++
	}
	return revoked, false
}

// Sessions implements [Lister]. It notes the ids at once, and looks up one session after the other: no lock is held
// while the caller has one.
func (m *MemoryStorage) Sessions(ctx context.Context, principal string) iter.Seq2[*Session, error] {
	principal = validText(principal)
	return func(yield func(*Session, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(nil, opErr("sessions", err))
			return
		}
		for _, id := range m.idsOf(principal) {
			if err := ctx.Err(); err != nil {
				yield(nil, opErr("sessions", err))
				return
			}
			if s := m.ownedBy(principal, id); s != nil && !yield(s, nil) {
				return
			}
		}
	}
}

func (m *MemoryStorage) idsOf(principal string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]string, 0, m.records.GroupLen(principal))
	for r := range m.records.Group(principal) {
		ids = append(ids, r.ID)
	}
	return ids
}

// ownedBy returns a session, or nil if it is gone or has another owner by now.
func (m *MemoryStorage) ownedBy(principal, id string) *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.getLocked(id, time.Now())
	if found == nil || found.Group != principal {
		return nil
	}
	return found.Value.clone()
}

// makeRoomLocked sees to it that the owner of a session, which is about to replace current, has no more of them than
// allowed. It looks at all sessions of an owner who has that many.
func (m *MemoryStorage) makeRoomLocked(op string, s *Session, current *record, now time.Time) error {
	limit := m.options.ownerLimit
	if limit == 0 || current != nil && current.Group == s.principal || m.records.GroupLen(s.principal) < limit {
		return nil
	}
	var idlest *record
	for r := range m.records.Group(s.principal) {
		switch {
		case r.Over(now): // it is not removed yet
			m.records.Remove(r)
		case idlest == nil || r.UsedAt.Before(idlest.UsedAt):
			idlest = r
		}
	}
	switch {
	case m.records.GroupLen(s.principal) < limit:
		return nil
	case m.options.overLimit == RefuseNew:
		return opErr(op, ErrTooMany)
	}
	m.removeLocked(idlest)
	return nil
}
