package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

// tb is the part of [testing.T] that the cases use. This package's own tests replace it, to see cases fail.
type tb interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// env is what a case works with: the test, the subject with its defaults filled in, and shorthands.
type env struct {
	tb
	Subject
	ctx context.Context

	wallClock bool // idle sessions expire by time.Now
	longRun   int  // number of TTLs that a session in use is kept alive for

	mu  sync.Mutex
	ids []string // guarded by mu: ids that no error may contain
}

const defaultMaxSize = 1 << 20

func newEnv(t tb, s Subject, virtual bool) *env {
	t.Helper()
	if s.Storage == nil || s.TTL <= 0 {
		t.Fatalf("sessiontest: a Subject needs a Storage and a positive TTL")
	}
	e := &env{tb: t, Subject: s, ctx: t.Context(), wallClock: s.Advance == nil, longRun: 10}
	if s.Advance == nil {
		e.Advance = time.Sleep
		if !virtual {
			e.longRun = 3
		}
	}
	if s.MaxSize == 0 {
		e.MaxSize = defaultMaxSize
	}
	return e
}

// settle waits until a caching storage must know of everything that has happened.
func (e *env) settle() { time.Sleep(e.Staleness) }

// fresh returns a new session with some content that is not stored yet.
func (e *env) fresh() *session.Session {
	return session.New(e.secret(session.NewID())).
		WithType(session.TypeStreamable).
		WithPrincipal("https://issuer.example|user-1").
		With("backend_url", "http://10.0.0.7:8080/mcp").
		WithData([]byte(`{"calls":1}`))
}

// stored returns a session that was just stored.
func (e *env) stored() *session.Session {
	e.Helper()
	s := e.fresh()
	e.store(s)
	return s
}

// secret registers an id that no error may contain.
func (e *env) secret(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids = append(e.ids, id)
	return id
}

func (e *env) store(s *session.Session) {
	e.Helper()
	if err := e.Storage.Store(e.ctx, s); err != nil {
		e.Fatalf("Store: %v", err)
	}
}

func (e *env) load(id string) *session.Session {
	e.Helper()
	return e.loadFrom(e.Storage, id)
}

func (e *env) loadFrom(st session.Storage, id string) *session.Session {
	e.Helper()
	s, err := st.Load(e.ctx, id)
	if err != nil {
		e.Fatalf("Load of a stored session: %v", err)
	}
	if s == nil {
		e.Fatalf("Load returned neither a session nor an error")
	}
	return s
}

func (e *env) delete(id string) {
	e.Helper()
	if err := e.Storage.Delete(e.ctx, id); err != nil {
		e.Fatalf("Delete: %v", err)
	}
}

// gone checks that there is no session with that id.
func (e *env) gone(id, why string) {
	e.Helper()
	e.goneFrom(e.Storage, id, why)
}

func (e *env) goneFrom(st session.Storage, id, why string) {
	e.Helper()
	s, err := st.Load(e.ctx, id)
	e.fails("Load "+why, err, session.ErrNotFound)
	if s != nil {
		e.Errorf("Load %s returned a session", why)
	}
}

// sentinels exclude each other: an error that matches two of them would send its reader down the wrong path.
var sentinels = []error{
	session.ErrNotFound, session.ErrExists, session.ErrConflict, session.ErrInvalidID, session.ErrTooLarge,
	session.ErrCorrupt, session.ErrClosed, session.ErrLifetime, session.ErrTooMany,
}

// fails checks that an operation failed with the wanted error, with no other sentinel, and without naming an id.
func (e *env) fails(what string, err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Errorf("%s: got error %q, want one that matches %q", what, text(err), want)
		return
	}
	for _, other := range sentinels {
		if !errors.Is(other, want) && errors.Is(err, other) {
			e.Errorf("%s: the error matches %q as well as %q", what, other, want)
		}
	}
	e.discreet(what, err)
}

// discreet checks that an error contains no id.
func (e *env) discreet(what string, err error) {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.ids {
		if strings.Contains(text(err), id) {
			e.Errorf("%s: the error contains the session id, which is a credential: %q", what, err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}

// same checks that two sessions are equal in every field, including the revision.
func (e *env) same(what string, got, want *session.Session) {
	e.Helper()
	e.sameContent(what, got, want)
	if g, w := got.Revision(), want.Revision(); g != w {
		e.Errorf("%s: revision is %d, want %d", what, g, w)
	}
}

// sameContent checks that two sessions are equal in every field except the revision.
func (e *env) sameContent(what string, got, want *session.Session) {
	e.Helper()
	field := func(name string, equal bool, got, want any) {
		e.Helper()
		if !equal {
			e.Errorf("%s: %s is %v, want %v", what, name, got, want)
		}
	}
	g, w := got.Record(), want.Record()
	if limit := e.maxLifetime(); limit > 0 && w.ExpiresAt.IsZero() {
		w.ExpiresAt = w.CreatedAt.Add(limit)
		if w.CreatedAt.IsZero() {
			w.ExpiresAt = g.ExpiresAt // counts from when it was stored
		}
	}
	field("ID", g.ID == w.ID, g.ID, w.ID)
	field("Type", g.Type == w.Type, g.Type, w.Type)
	field("Principal", g.Principal == w.Principal, g.Principal, w.Principal)
	field("CreatedAt", g.CreatedAt.Equal(w.CreatedAt), g.CreatedAt, w.CreatedAt)
	field("UpdatedAt", g.UpdatedAt.Equal(w.UpdatedAt), g.UpdatedAt, w.UpdatedAt)
	field("ExpiresAt", g.ExpiresAt.Equal(w.ExpiresAt), g.ExpiresAt, w.ExpiresAt)
	field("IdleTimeout", g.IdleTimeout == w.IdleTimeout, g.IdleTimeout, w.IdleTimeout)
	field("Metadata", maps.Equal(g.Metadata, w.Metadata), g.Metadata, w.Metadata)
	if !bytes.Equal(g.Data, w.Data) {
		e.Errorf("%s: Data differs: %d bytes, want %d", what, len(g.Data), len(w.Data))
	}
}

// untouched checks that the stored session is still exactly this one.
func (e *env) untouched(what string, want *session.Session) {
	e.Helper()
	e.same("stored session after "+what, e.load(want.ID()), want)
}

// together calls f in n goroutines that start at the same moment, and waits for them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}
