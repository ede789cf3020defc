package session

import (
	"context"
	"iter"
	"time"
)

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
