package sim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed34611480/session"
)

// server is the remote: its data, its operations, and its subscribers. Every method is one atomic step at the present
// instant. Guarded by world.mu.
type server struct {
	world         *world
	down          bool
	deadUntil     time.Duration // the first sessions have no answers until then
	lastRevision  uint64
	records       map[string]*record
	subscriptions map[*subscription]struct{}
	registry      registry
	failingBack   bool // another server is the master, but not for long
	shards        *rand.Rand
	away          [shardChannels]bool // channels whose slots are on other nodes
}

type record struct {
	snapshot *session.Session // with revision 0; the record has its own
	revision uint64
	idleAt   time.Duration // when it expires unless it is used
	usedAt   time.Duration
}

func newServer(w *world) *server {
	return &server{
		world: w, records: make(map[string]*record), subscriptions: make(map[*subscription]struct{}),
		shards: stream(w.Seed, shardStream),
	}
}

// get returns the live record of a session, or nil. An expired one counts as gone from its own end, not from when get
// finds it expired.
func (s *server) get(id string) *record {
	r := s.records[id]
	if r == nil {
		return nil
	}
	over, why := r.idleAt, idle
	if at := r.snapshot.ExpiresAt(); !at.IsZero() && at.Sub(s.world.start) < over {
		over, why = at.Sub(s.world.start), expired
	}
	if s.world.now() < over {
		return r
	}
	s.erase(id, over, why)
	return nil
}

// dead reports whether the part of the remote that has a session is away.
func (s *server) dead(id string) bool {
	return s.world.now() < s.deadUntil && s.world.mayBeDead(id)
}

func (s *server) erase(id string, at time.Duration, why ending) {
	delete(s.records, id)
	s.world.history.truth.set(id, at, why, span{})
}

func (s *server) use(r *record) {
	r.usedAt = s.world.now()
	r.idleAt = s.idleEnd(r, r.usedAt)
}

// idleEnd returns when a session ends that was used last at an instant.
func (s *server) idleEnd(r *record, usedAt time.Duration) time.Duration {
	idle := s.world.idleOf(r.snapshot)
	if idle < 0 {
		return endOfTime
	}
	return usedAt + idle
}

func (s *server) load(id string) (*session.Session, error) {
	r := s.get(id)
	if r == nil {
		return nil, session.ErrNotFound
	}
	s.use(r)
	return r.session(), nil
}

// peek is load without a use.
func (s *server) peek(id string) (*session.Session, error) {
	if r := s.get(id); r != nil {
		return r.session(), nil
	}
	return nil, session.ErrNotFound
}

func (r *record) session() *session.Session {
	c := r.snapshot.Detached()
	session.Stamp(c, r.revision)
	return c
}

// revalidate reports whether the session has that revision, and if so counts a use of it at an instant that is past.
func (s *server) revalidate(id string, revision uint64, usedAt time.Duration) bool {
	r := s.get(id)
	if r == nil || r.revision != revision || s.idleEnd(r, usedAt) <= s.world.now() {
		return false
	}
	r.usedAt = max(r.usedAt, usedAt)
	r.idleAt = max(r.idleAt, s.idleEnd(r, usedAt))
	return true
}

// store writes unconditionally if base is 0, and otherwise only if base is the stored revision.
func (s *server) store(snapshot *session.Session, base uint64) (revision uint64, err error) {
	current := s.get(snapshot.ID())
	switch {
	case snapshot.Expired(time.Now()):
		return 0, session.ErrNotFound
	case base == 0:
	case current == nil:
		return 0, session.ErrNotFound
	case current.revision != base:
		return 0, session.ErrConflict
	}
	return s.put(snapshot), nil
}

func (s *server) create(snapshot *session.Session) (revision uint64, err error) {
	switch {
	case snapshot.Expired(time.Now()):
		return 0, session.ErrNotFound
	case s.get(snapshot.ID()) != nil:
		return 0, session.ErrExists
	}
	return s.put(snapshot), nil
}

func (s *server) put(snapshot *session.Session) uint64 {
	s.lastRevision = max(s.lastRevision+1, uint64(time.Now().UnixMicro()))
	r := &record{snapshot: snapshot, revision: s.lastRevision}
	s.use(r)
	id := snapshot.ID()
	s.records[id] = r
	value, _ := snapshot.Get("v")
	s.world.history.truth.set(id, s.world.now(), overwritten, span{
		revision: r.revision, value: value, expiresAt: snapshot.ExpiresAt(), idle: s.world.idleOf(snapshot),
	})
	s.publish(id, session.Changed{ID: id, Revision: r.revision})
	return r.revision
}

func (s *server) remove(id string) {
	s.get(id)
	s.erase(id, s.world.now(), removed)
	s.publish(id, session.Removed{ID: id})
}

func (s *server) take(id string) (*session.Session, error) {
	r := s.get(id)
	if r == nil {
		return nil, session.ErrNotFound
	}
	s.remove(id)
	return r.session(), nil
}

// removeIdle removes the sessions that were last used before an instant. It goes in order, because each removal sends
// an event.
func (s *server) removeIdle(before time.Duration) {
	for _, id := range slices.Sorted(maps.Keys(s.records)) {
		if r := s.get(id); r != nil && r.usedAt < before {
			s.remove(id)
		}
	}
}

// removeOwned removes the sessions of an owner, in order.
func (s *server) removeOwned(owner string) (removed int) {
	for _, id := range slices.Sorted(maps.Keys(s.records)) {
		if r := s.get(id); r != nil && r.snapshot.Principal() == owner {
			s.remove(id)
			removed++
		}
	}
	return removed
}

// revision returns the stored revision, or 0.
func (s *server) revision(id string) uint64 {
	if r := s.get(id); r != nil {
		return r.revision
	}
	return 0
}

func (s *server) loseAll() {
	for id := range s.records {
		if s.get(id) != nil {
			s.erase(id, s.world.now(), lost)
		}
	}
}

// settle records expiries that no operation has noticed.
func (s *server) settle() {
	for id := range s.records {
		s.get(id)
	}
}
