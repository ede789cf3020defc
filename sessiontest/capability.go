package sessiontest

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/seed34611480/session"
)

var creatorCases = []testCase{
	{"Create", create},
	{"CreateAfterExpiry", createAfterExpiry},
	{"CreatePastExpiresAt", createPastExpiresAt},
}

var takerCases = []testCase{
	{"Take", take},
	{"TakeExpired", takeExpired},
}

var closerCases = []testCase{
	{"Close", closeStorage},
}

// creator returns the storage as a Creator if it really is one: a wrapper has the method even when the storage that it
// wraps does not support it.
func (e *env) creator() (session.Creator, bool) {
	c, ok := e.Storage.(session.Creator)
	if !ok {
		return nil, false
	}
	probe := e.fresh()
	if errors.Is(c.Create(e.ctx, probe), errors.ErrUnsupported) {
		return nil, false
	}
	e.delete(probe.ID())
	return c, true
}

func (e *env) needCreator() session.Creator {
	e.Helper()
	c, ok := e.creator()
	if !ok {
		e.Skipf("the storage is not a session.Creator")
	}
	return c
}

// taker is the same as creator, for a Taker.
func (e *env) taker() (session.Taker, bool) {
	t, ok := e.Storage.(session.Taker)
	if !ok {
		return nil, false
	}
	_, err := t.Take(e.ctx, e.secret(session.NewID()))
	return t, !errors.Is(err, errors.ErrUnsupported)
}

func (e *env) needTaker() session.Taker {
	e.Helper()
	t, ok := e.taker()
	if !ok {
		e.Skipf("the storage is not a session.Taker")
	}
	return t
}

// operation is one method of the storage, called for one session.
type operation struct {
	name string
	call func(ctx context.Context, s *session.Session) error
}

// writes are the operations that are given a session, reads those that are given an id. Both include the optional
// operations that the storage supports.
func (e *env) writes() []operation {
	ops := e.creates()
	if r, ok := e.replacer(); ok {
		ops = append(ops, operation{"Replace", r.Replace})
	}
	return ops
}

// creates are those writes that can store a new session.
func (e *env) creates() []operation {
	ops := []operation{{"Store", e.Storage.Store}}
	if c, ok := e.creator(); ok {
		ops = append(ops, operation{"Create", c.Create})
	}
	return ops
}

func (e *env) reads() []operation {
	ops := []operation{
		{"Load", func(ctx context.Context, s *session.Session) error {
			_, err := e.Storage.Load(ctx, s.ID())
			return err
		}},
		{"Delete", func(ctx context.Context, s *session.Session) error { return e.Storage.Delete(ctx, s.ID()) }},
	}
	if t, ok := e.taker(); ok {
		ops = append(ops, operation{"Take", func(ctx context.Context, s *session.Session) error {
			_, err := t.Take(ctx, s.ID())
			return err
		}})
	}
	if p, ok := e.peeker(); ok {
		ops = append(ops, peekOf(p))
	}
	if r, ok := e.revalidator(); ok {
		ops = append(ops, operation{"Revalidate", func(ctx context.Context, s *session.Session) error {
			_, err := r.Revalidate(ctx, uses(0, s))
			return err
		}})
	}
	return ops
}

// create: Create stores a session only if its id is new, whatever revision the session carries.
func create(e *env) {
	c := e.needCreator()
	s := e.fresh()
	if err := c.Create(e.ctx, s); err != nil {
		e.Fatalf("Create: %v", err)
	}
	if s.Revision() == 0 {
		e.Errorf("Create did not set the revision")
	}
	e.untouched("Create", s)

	for _, second := range []*session.Session{session.New(s.ID()), e.load(s.ID()).With("k", "v")} {
		before := second.Revision()
		e.fails("Create of a session that exists", c.Create(e.ctx, second), session.ErrExists)
		if second.Revision() != before {
			e.Errorf("a failed Create changed the caller's revision from %d to %d", before, second.Revision())
		}
		e.untouched("a refused Create", s)
	}
	next := s.With("k", "v")
	e.store(next)
	e.untouched("storing a created session", next)

	e.delete(s.ID())
	old := next.With("k", "again") // has the revision of the deleted session
	if err := c.Create(e.ctx, old); err != nil {
		e.Fatalf("Create after Delete, of a session with a revision: %v", err)
	}
	if old.Revision() <= next.Revision() {
		e.Errorf("revision after Delete and Create is %d, want more than %d", old.Revision(), next.Revision())
	}
	e.untouched("Create", old)
	e.fails("Store of a copy from before Delete and Create", e.Storage.Store(e.ctx, next), session.ErrConflict)
}

// createAfterExpiry: Create may reuse the id of an expired session.
func createAfterExpiry(e *env) {
	c := e.needCreator()
	idle, ending := e.stored(), e.ending()
	e.load(ending.ID())
	e.outlive(ending)
	again := session.New(ending.ID())
	if err := c.Create(e.ctx, again); err != nil {
		e.Fatalf("Create under the id of a session past its ExpiresAt: %v", err)
	}
	e.untouched("Create", again)

	e.expire()
	again = session.New(idle.ID())
	if err := c.Create(e.ctx, again); err != nil {
		e.Fatalf("Create under the id of a session that was idle for longer than the TTL: %v", err)
	}
	e.untouched("Create", again)
}

// createPastExpiresAt: Create refuses what Store refuses, whatever its revision.
func createPastExpiresAt(e *env) {
	c := e.needCreator()
	past := time.Now().Add(-time.Second)
	over := e.fresh().WithExpiresAt(past)
	e.fails("Create of a session past its ExpiresAt", c.Create(e.ctx, over), session.ErrLifetime)
	e.gone(over.ID(), "after a refused Create")
	s := e.stored()
	e.delete(s.ID())
	e.fails("Create of a deleted session past its ExpiresAt", c.Create(e.ctx, s.WithExpiresAt(past)), session.ErrLifetime)
	e.gone(s.ID(), "after a refused Create")
}

// take: Take loads and deletes in one step.
func take(e *env) {
	t := e.needTaker()
	s, other := e.stored(), e.stored()
	got, err := t.Take(e.ctx, s.ID())
	if err != nil || got == nil {
		e.Fatalf("Take: got a session: %t, error: %v", got != nil, err)
	}
	e.same("taken session", got, s)
	e.notTaken(t, s.ID(), "of a taken session")
	e.gone(s.ID(), "after Take")
	e.fails("Store of a taken session", e.Storage.Store(e.ctx, got.With("k", "v")), session.ErrNotFound)
	e.notTaken(t, e.secret(session.NewID()), "of an id that was never stored")
	e.untouched("Take of another session", other)
	e.delete(other.ID())
	e.notTaken(t, other.ID(), "of a deleted session")
}

// takeExpired: Take does not find an expired session.
func takeExpired(e *env) {
	t := e.needTaker()
	idle, ending := e.stored(), e.ending()
	e.load(ending.ID())
	e.outlive(ending)
	e.notTaken(t, ending.ID(), "of a session past its ExpiresAt")
	e.expire()
	e.notTaken(t, idle.ID(), "of a session that was idle for longer than the TTL")
}

func (e *env) notTaken(t session.Taker, id, why string) {
	e.Helper()
	s, err := t.Take(e.ctx, id)
	e.fails("Take "+why, err, session.ErrNotFound)
	if s != nil {
		e.Errorf("Take %s returned a session", why)
	}
}

// closeStorage: after Close every operation fails with ErrClosed. Close may be repeated.
func closeStorage(e *env) {
	c, ok := e.Storage.(io.Closer)
	if !ok {
		e.Skipf("the storage is not an io.Closer")
	}
	s := e.stored()
	e.load(s.ID())
	reads, writes := append(e.reads(), e.ownerCalls()...), e.writes() // before Close: they probe what there is
	for range 2 {
		if err := c.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	}
	for _, op := range reads {
		e.fails(op.name+" after Close", op.call(e.ctx, s), session.ErrClosed)
	}
	for _, op := range writes {
		e.fails(op.name+" after Close", op.call(e.ctx, e.fresh()), session.ErrClosed)
	}
	e.fails("DeleteExpired after Close", e.Storage.DeleteExpired(e.ctx, time.Now()), session.ErrClosed)
}
