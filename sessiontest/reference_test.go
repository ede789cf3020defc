package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

const (
	refTTL     = time.Minute
	refMaxSize = 16 << 10

	refLimit       = 64
	refMaxLifetime = 1000 * time.Hour
)

// reference is the simplest storage that keeps the contract: encoded values in a map, under one lock. With a bug set,
// it breaks the contract in the one way that the bug names.
type reference struct {
	*table
	bug bug
}

// table is the data. Two references may share one.
type table struct {
	mu       sync.Mutex
	rows     map[string]row
	revision uint64
	shift    time.Duration // how far the idle clock is ahead of time.Now
	cut      bool
	closed   bool

	maxLifetime time.Duration // 0: none
	ownerLimit  int           // 0: none
	overLimit   session.OwnerPolicy

	watching chan session.Event // nil for none
}

type row struct {
	value     []byte
	revision  uint64
	used      time.Time
	idle      time.Duration // 0: refTTL
	expiresAt time.Time
	principal string
	shared    *session.Session // only with a bug that shares pointers
}

func newReference(b bug) *reference { return &reference{&table{rows: map[string]row{}}, b} }

// limited is a reference with a maximum lifetime, and a limit of sessions for each principal.
func (r *reference) limited(over session.OwnerPolicy) *reference {
	r.maxLifetime, r.ownerLimit, r.overLimit = refMaxLifetime, refLimit, over
	return r
}

// subject makes a Subject of the reference, with every optional field set.
func (r *reference) subject() Subject {
	return Subject{
		Storage:    r,
		TTL:        refTTL,
		MaxSize:    refMaxSize,
		OwnerLimit: r.ownerLimit,
		OverLimit:  r.overLimit,
		Peer:       r.peer(),
		Raw:        func(id string) []byte { return r.locked(func() []byte { return r.rows[id].value }) },
		Plant: func(id string, value []byte) {
			r.locked(func() []byte {
				r.rows[id] = row{value: value, revision: 1, used: r.now()}
				return nil
			})
		},
		Cut: func() { r.locked(func() []byte { r.cut = true; return nil }) },
	}
}

func (r *reference) peer() session.Storage {
	if r.bug == staleView {
		return &view{reference: &reference{table: r.table}, seen: map[string]*session.Session{}}
	}
	return &reference{r.table, r.bug}
}

func (r *reference) locked(f func() []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// advance moves the idle clock.
func (r *reference) advance(d time.Duration) {
	r.locked(func() []byte { r.shift += d; return nil })
}

func (r *reference) now() time.Time { return time.Now().Add(r.shift) }

// begin does what every operation starts with.
func (r *reference) begin(ctx context.Context, op, id string) error {
	if err := session.ValidateID(id); err != nil && r.bug != anyID {
		return r.wrap(op, id, err)
	}
	if err := ctx.Err(); err != nil && r.bug != ignoresContext {
		if r.bug == canceledIsNotFound {
			err = session.ErrNotFound
		}
		return r.wrap(op, id, err)
	}
	if r.closed && r.bug != worksClosed {
		return r.wrap(op, id, session.ErrClosed)
	}
	if r.cut {
		if r.bug == outageIsNotFound {
			return r.wrap(op, id, session.ErrNotFound)
		}
		return r.wrap(op, id, session.ErrUnavailable)
	}
	return nil
}

func (r *reference) wrap(op, id string, err error) error {
	switch r.bug {
	case idInError:
		return fmt.Errorf("%s %q: %w", op, id, err)
	case opaqueErrors:
		return errors.New(op + ": " + err.Error())
	}
	return fmt.Errorf("%s: %w", op, err)
}

// live returns what is stored under an id, unless it has expired.
func (r *reference) live(id string) (row, bool) {
	w, ok := r.rows[id]
	idle := w.idleTime() > 0 && !r.now().Before(w.used.Add(w.idleTime()))
	over := !w.expiresAt.IsZero() && !time.Now().Before(w.expiresAt)
	switch r.bug {
	case servesExpired:
		idle = false
	case ignoresExpiresAt:
		over = false
	}
	return w, ok && !idle && !over
}

func (w row) idleTime() time.Duration {
	if w.idle == 0 {
		return refTTL
	}
	return w.idle
}

func (r *reference) MaxLifetime() time.Duration { return r.maxLifetime }

// withEnd returns the session that is stored for one.
func (r *reference) withEnd(s *session.Session) *session.Session {
	record := s.Record()
	switch {
	case r.maxLifetime == 0 || !record.ExpiresAt.IsZero():
		return s
	case r.bug == limitsFromNow || record.CreatedAt.IsZero() || record.CreatedAt.After(time.Now()):
		record.ExpiresAt = time.Now().Add(r.maxLifetime)
	default:
		record.ExpiresAt = record.CreatedAt.Add(r.maxLifetime)
	}
	return session.FromRecord(record)
}

// lifetimeError refuses sessions that are over, or would never end.
func (r *reference) lifetimeError(s *session.Session, isNew bool) error {
	over := s.Expired(time.Now())
	switch {
	case r.bug == overIsNotFound && over, over && !isNew && r.bug != storesExpired:
		return session.ErrNotFound
	case over && r.bug != storesExpired,
		s.IdleTimeout() < 0 && s.ExpiresAt().IsZero() && r.bug != storesForEver:
		return session.ErrLifetime
	}
	return nil
}

// owned are the ids of the live sessions of a principal.
func (r *reference) owned(principal string) []string {
	var ids []string
	for id, w := range r.rows {
		owner := w.principal
		if r.bug == ownersFoldCase {
			owner, principal = strings.ToLower(owner), strings.ToLower(principal)
		}
		if _, ok := r.live(id); principal != "" && owner == principal && (ok || r.bug == countsExpired) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (r *reference) Revoke(ctx context.Context, principal string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin(ctx, "revoke", "x"); err != nil {
		return 0, err
	}
	ids, before := r.owned(strings.ToValidUTF8(principal, "\uFFFD")), maps.Clone(r.rows)
	switch r.bug {
	case revokesNothing:
		return len(ids), nil
	case revokesAll:
		ids = slices.Collect(maps.Keys(r.rows))
	case racyRevoke:
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
	}
	revoked := 0
	for _, id := range ids {
		if w, ok := r.rows[id]; ok && w.revision == before[id].revision {
			r.removed(id, w)
			delete(r.rows, id)
			revoked++
		}
	}
	return revoked, nil
}

func (r *reference) Sessions(ctx context.Context, principal string) iter.Seq2[*session.Session, error] {
	principal = strings.ToValidUTF8(principal, "\uFFFD")
	return func(yield func(*session.Session, error) bool) {
		r.mu.Lock()
		err := r.begin(ctx, "sessions", "x")
		ids := r.owned(principal)
		r.mu.Unlock()
		if err != nil {
			yield(nil, err)
			return
		}
		if r.bug == listsTen {
			ids = ids[:min(10, len(ids))]
		}
		for _, id := range ids {
			look := r.Peek
			if r.bug == listIsUse {
				look = r.Load
			}
			if r.bug == listsLocked {
				r.locked(func() []byte { r.cut = true; return nil })
			}
			s, err := look(ctx, id)
			if err == nil && !yield(s, nil) {
				return
			}
		}
	}
}

// makeRoom keeps the owner of a session below the limit.
func (r *reference) makeRoom(s *session.Session, old row) error {
	owned := r.owned(s.Principal())
	if r.ownerLimit == 0 || len(owned) < r.ownerLimit || old.principal == s.Principal() && r.bug != limitCountsChanges {
		return nil
	}
	if r.overLimit == session.RefuseNew {
		if r.bug == limitsNothing {
			return nil
		}
		return session.ErrTooMany
	}
	idlest := slices.MinFunc(owned, func(a, b string) int { return r.rows[a].used.Compare(r.rows[b].used) })
	if r.bug == endsTheBusiest {
		idlest = slices.MaxFunc(owned, func(a, b string) int { return r.rows[a].used.Compare(r.rows[b].used) })
	}
	r.removed(idlest, r.rows[idlest])
	delete(r.rows, idlest)
	return nil
}

func (r *reference) Store(ctx context.Context, s *session.Session) error {
	return r.write(ctx, "store", s, func(w row, exists bool) error {
		switch from := s.Revision(); {
		case from == 0 && exists && r.bug == zeroMeansNew:
			return session.ErrConflict
		case from == 0 || r.bug == noCAS:
			return nil
		case !exists && r.bug == resurrects:
			return nil
		case !exists:
			return session.ErrNotFound
		case r.bug == comparesExistence:
			return nil
		case w.revision != from && r.bug == comparesContent && sameButRevision(w.value, s):
			return nil
		case w.revision != from:
			return session.ErrConflict
		}
		return nil
	})
}

func (r *reference) Create(ctx context.Context, s *session.Session) error {
	return r.write(ctx, "create", s, func(_ row, exists bool) error {
		if exists && r.bug != createOverwrites {
			return session.ErrExists
		}
		if r.bug == createMindsRevision && s.Revision() != 0 {
			return session.ErrNotFound
		}
		return nil
	})
}

func (r *reference) Replace(ctx context.Context, s *session.Session) error {
	return r.write(ctx, "replace", s, func(w row, exists bool) error {
		switch {
		case !exists && r.bug != replaceCreates:
			return session.ErrNotFound
		case r.bug == replaceMindsRevision && s.Revision() != 0 && w.revision != s.Revision():
			return session.ErrConflict
		}
		return nil
	})
}

// write stores a session if allowed permits it to replace what is stored.
func (r *reference) write(
	ctx context.Context, op string, s *session.Session, allowed func(w row, exists bool) error,
) error {
	if s == nil {
		return r.wrap(op, "", session.ErrInvalidID)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin(ctx, op, s.ID()); err != nil {
		return err
	}
	own := r.withEnd(s)
	value, err := session.JSONCodec{}.Encode(own)
	if err != nil {
		return err
	}
	if len(value) > refMaxSize && r.bug != acceptsOversize {
		if r.bug == refusalDeletes {
			delete(r.rows, s.ID())
		}
		return r.wrap(op, s.ID(), session.ErrTooLarge)
	}
	if err := r.lifetimeError(own, op != "store" || s.Revision() == 0); err != nil {
		return r.wrap(op, s.ID(), err)
	}
	w, exists := r.live(s.ID())
	if r.bug == racyWrite {
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
	}
	if err := allowed(w, exists); err != nil {
		if r.bug == stampsFailures {
			session.Stamp(s, w.revision+1)
		}
		return r.wrap(op, s.ID(), err)
	}
	if err := r.makeRoom(s, w); err != nil {
		return r.wrap(op, s.ID(), err)
	}
	r.put(s, own, value, w)
	return nil
}

// put stores own, for the caller's session s.
func (r *reference) put(s, own *session.Session, value []byte, old row) {
	r.revision++
	w := row{
		value: value, revision: r.revision, used: r.now(), idle: own.IdleTimeout(), expiresAt: own.ExpiresAt(),
		principal: own.Principal(),
	}
	switch r.bug {
	case ignoresOwnIdle:
		w.idle = 0
	case ownIdleOnlyShortens:
		w.idle = min(w.idle, refTTL)
	case keepsOwnIdle:
		if old.idle != 0 {
			w.idle = old.idle
		}
	case keepsOwner:
		if old.principal != "" {
			w.principal = old.principal
		}
	case restampsLoaded:
		if old.shared != nil {
			session.Stamp(old.shared, w.revision)
		}
	case reusesRevisions:
		w.revision = old.revision + 1
		if _, exists := r.rows[s.ID()]; !exists {
			w.revision = 1
		}
	case sharesPointers:
		w.shared = s
	case storeDoesNotSlide:
		if !old.used.IsZero() {
			w.used = old.used
		}
	case keepsOldEnd:
		if !old.expiresAt.IsZero() {
			w.expiresAt = old.expiresAt
		}
	case losesBinary:
		record := s.Record()
		record.Data = bytes.ToValidUTF8(record.Data, []byte("?"))
		w.value, _ = session.JSONCodec{}.Encode(session.FromRecord(record))
	case losesPrecision:
		record := s.Record()
		record.CreatedAt = record.CreatedAt.Truncate(time.Second)
		w.value, _ = session.JSONCodec{}.Encode(session.FromRecord(record))
	}
	r.rows[s.ID()] = w
	if r.bug != noStamp {
		session.Stamp(s, w.revision)
	}
	r.announce(session.Changed{ID: s.ID(), Revision: w.revision})
}

func (r *reference) announce(e session.Event) {
	if r.watching != nil {
		r.watching <- e
	}
}

// removed announces the end of what was stored, if it was.
func (r *reference) removed(id string, w row) {
	switch r.bug {
	case removesSilently:
		return
	case removesAnotherRevision:
		w.revision++
	}
	r.announce(session.Removed{ID: id, Revision: w.revision})
}

func (r *reference) TTL() time.Duration { return refTTL }

func (r *reference) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	events := make(chan session.Event, 1000)
	r.locked(func() []byte { r.watching = events; return nil })
	defer r.locked(func() []byte { r.watching = nil; return nil })
	if r.bug != watchesWithoutGap {
		fn(session.Gap{})
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case e := <-events:
			fn(e)
		case <-beat.C:
			asOf := time.Now()
			for range len(events) {
				fn(<-events)
			}
			fn(session.Alive{AsOf: asOf})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reference) Load(ctx context.Context, id string) (*session.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read(ctx, "load", id)
}

func (r *reference) Peek(ctx context.Context, id string) (*session.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, stored := r.rows[id]
	s, err := r.read(ctx, "peek", id)
	if after := r.rows[id]; stored && r.bug != peekIsUse {
		after.used = before.used
		r.rows[id] = after
	}
	return s, err
}

func (r *reference) read(ctx context.Context, op, id string) (*session.Session, error) {
	if err := r.begin(ctx, op, id); err != nil {
		return nil, err
	}
	w, ok := r.live(id)
	if !ok {
		return nil, r.wrap(op, id, session.ErrNotFound)
	}
	if r.bug != noSlide {
		w.used = r.now()
	}
	if r.bug == slidesForever {
		w.used = w.used.Add(100 * refTTL)
	}
	r.rows[id] = w
	if w.shared != nil && (r.bug != sharesUntilStamped || w.shared.Revision() == w.revision) {
		return w.shared, nil
	}
	s, err := session.JSONCodec{}.Decode(w.value)
	if err != nil || s.ID() != id && r.bug != servesAnyValue {
		if r.bug == corruptIsNotFound {
			return nil, r.wrap(op, id, session.ErrNotFound)
		}
		return nil, r.wrap(op, id, session.ErrCorrupt)
	}
	session.Stamp(s, w.revision)
	if r.bug == handsOutItsOwn || r.bug == restampsLoaded || r.bug == sharesUntilStamped {
		w.shared = s
		r.rows[id] = w
	}
	return s, nil
}

func (r *reference) Take(ctx context.Context, id string) (*session.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx, "take", id)
	if r.bug == racyTake {
		r.mu.Unlock()
		time.Sleep(time.Millisecond)
		r.mu.Lock()
	}
	if err == nil && r.bug != takesTwice {
		r.removed(id, r.rows[id])
		delete(r.rows, id)
	}
	return s, err
}

func (r *reference) Revalidate(ctx context.Context, uses []session.Use) ([]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range uses {
		if err := r.begin(ctx, "revalidate", u.ID); err != nil {
			return nil, err
		}
	}
	unchanged := make([]bool, len(uses))
	for i, u := range uses {
		w, ok := r.live(u.ID)
		if !ok || w.revision != u.Revision && r.bug != revalidatesAny {
			continue
		}
		used := u.At.Add(r.shift)
		if r.bug == revalidationIsUse {
			used = r.now()
		}
		idle := w.idleTime()
		if r.bug == revalidatesByTTL {
			idle = refTTL
		}
		if idle > 0 && !r.now().Before(used.Add(idle)) && r.bug != revalidatesOldUses {
			continue
		}
		if r.bug != revalidationIsNoUse && (used.After(w.used) || r.bug == revalidationShortens) {
			w.used = used
		}
		r.rows[u.ID] = w
		unchanged[i] = true
	}
	return unchanged, nil
}

func (r *reference) Delete(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin(ctx, "delete", id); err != nil {
		return err
	}
	if _, ok := r.rows[id]; !ok && r.bug == deleteAbsentFails {
		return r.wrap("delete", id, session.ErrNotFound)
	}
	switch r.bug {
	case keepsDeleted:
		return nil
	case deletesByPattern:
		for other := range r.rows {
			if id == "*" || other == id {
				delete(r.rows, other)
			}
		}
	}
	r.removed(id, r.rows[id])
	delete(r.rows, id)
	return nil
}

func (r *reference) DeleteExpired(ctx context.Context, before time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.begin(ctx, "delete expired", "x"); err != nil {
		return err
	}
	if r.bug == sweepsTooMuch {
		before = before.Add(refTTL)
	}
	for id, w := range r.rows {
		idle := w.used.Add(-r.shift).Before(before)
		if r.bug == sweepsOnlyFuture {
			idle = before.After(time.Now())
		}
		if r.bug != sweepsOwnIdle {
			idle = idle && w.idle == 0
		}
		if _, ok := r.live(id); !ok || idle {
			delete(r.rows, id)
		}
	}
	return nil
}

func (r *reference) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed && r.bug == closesOnce {
		return session.ErrClosed
	}
	r.closed = true
	return nil
}

func sameButRevision(value []byte, s *session.Session) bool {
	old, err := session.JSONCodec{}.Decode(value)
	return err == nil && fmt.Sprint(old.Record().Metadata) == fmt.Sprint(s.Record().Metadata)
}

// view is an instance that keeps serving what it has seen once.
type view struct {
	*reference
	seen map[string]*session.Session
}

func (v *view) Load(ctx context.Context, id string) (*session.Session, error) {
	v.mu.Lock()
	s, ok := v.seen[id]
	v.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := v.reference.Load(ctx, id)
	if err == nil {
		v.mu.Lock()
		v.seen[id] = s
		v.mu.Unlock()
	}
	return s, err
}

// wrapper has the optional methods, but nothing that supports them.
type wrapper struct{ session.Storage }

func (wrapper) Create(context.Context, *session.Session) error { return errors.ErrUnsupported }

func (wrapper) Take(context.Context, string) (*session.Session, error) {
	return nil, errors.ErrUnsupported
}

func (wrapper) Peek(context.Context, string) (*session.Session, error) {
	return nil, errors.ErrUnsupported
}

func (wrapper) Revoke(context.Context, string) (int, error) { return 0, errors.ErrUnsupported }

func (wrapper) Sessions(context.Context, string) iter.Seq2[*session.Session, error] {
	return func(yield func(*session.Session, error) bool) { yield(nil, errors.ErrUnsupported) }
}

func (wrapper) MaxLifetime() time.Duration { return 0 }

func (wrapper) TTL() time.Duration { return 0 }

func (wrapper) Watch(context.Context, time.Duration, func(session.Event)) error {
	return errors.ErrUnsupported
}

func (wrapper) Revalidate(context.Context, []session.Use) ([]bool, error) {
	return nil, errors.ErrUnsupported
}
