package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/seed34611480/session"
)

var faultCases = []testCase{
	{"ContextEnded", contextEnded},
	{"Corrupt", corrupt},
	{"Unavailable", unavailable},
	{"Close", closeStorage},
}

// contextEnded: an operation whose context has ended fails with the context's error, and has no effect.
func contextEnded(e *env) {
	canceled, cancel := context.WithCancel(e.ctx)
	cancel()
	late, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	for ctx, want := range map[context.Context]error{canceled: context.Canceled, late: context.DeadlineExceeded} {
		s := e.stored()
		for _, op := range append(e.reads(), e.ownerCalls()...) {
			err := op.call(ctx, s)
			if (op.name == "Load" || op.name == "Peek") && err == nil {
				continue // an answer from memory needs no context
			}
			e.fails(op.name+" with an ended context", err, want)
			e.untouched(op.name+" with an ended context", s)
		}
		next := s.With("k", "v")
		e.fails("Store of a change with an ended context", e.Storage.Store(ctx, next), want)
		if next.Revision() != s.Revision() {
			e.Errorf("a failed Store changed the revision from %d to %d", s.Revision(), next.Revision())
		}
		e.untouched("Store with an ended context", s)
		for _, op := range e.writes() {
			created := e.fresh()
			e.fails(op.name+" of a new session with an ended context", op.call(ctx, created), want)
			e.gone(created.ID(), "after "+op.name+" with an ended context")
		}
	}
}

// corrupt: a value that is not a session of that id is reported as ErrCorrupt, neither served nor called absent. It
// stays, so that an operator can examine it, until it is deleted.
func corrupt(e *env) {
	if e.Raw == nil || e.Plant == nil {
		e.Skipf("Subject.Raw or Subject.Plant is not set")
	}
	victim := e.stored()
	good := bytes.Clone(e.Raw(victim.ID()))
	if len(good) == 0 {
		e.Fatalf("Subject.Raw returned nothing for a stored session")
	}
	for name, value := range map[string][]byte{
		"another session's value": good,
		"half a value":            good[:len(good)/2],
		"one byte of a value":     good[:1],
		"nothing":                 {},
		"garbage":                 []byte("\x00garbage\xff"),
	} {
		s := e.fresh() // never loaded, so the storage cannot answer from memory
		e.Plant(s.ID(), value)
		for range 2 {
			got, err := e.Storage.Load(e.ctx, s.ID())
			e.fails("Load of "+name, err, session.ErrCorrupt)
			if got != nil {
				e.Errorf("Load of %s returned a session", name)
			}
		}
		if p, ok := e.peeker(); ok {
			_, err := p.Peek(e.ctx, s.ID())
			e.fails("Peek of "+name, err, session.ErrCorrupt)
		}
		if c, ok := e.creator(); ok && c.Create(e.ctx, session.New(s.ID())) == nil {
			e.Errorf("Create replaced %s", name)
		}
		if !bytes.Equal(e.Raw(s.ID()), value) {
			e.Errorf("%s was changed by Load or Create", name)
		}
		if t, ok := e.taker(); ok {
			_, err := t.Take(e.ctx, s.ID())
			e.fails("Take of "+name, err, session.ErrCorrupt)
		}

		// An unconditional Store may replace the value or refuse to.
		e.Plant(s.ID(), value)
		again := session.New(s.ID())
		if err := e.Storage.Store(e.ctx, again); err == nil {
			e.untouched("an unconditional Store over "+name, again)
		} else if e.fails("Store over "+name, err, session.ErrCorrupt); !bytes.Equal(e.Raw(s.ID()), value) {
			e.Errorf("%s was changed by a refused Store", name)
		}

		e.Plant(s.ID(), value)
		e.delete(s.ID())
		e.gone(s.ID(), "after Delete of "+name)
	}
	e.untouched("other ids got copies of its value", victim)
}

// unavailable: in an outage the storage answers ErrUnavailable, and never that a session is gone.
func unavailable(e *env) {
	if e.Cut == nil {
		e.Skipf("Subject.Cut is not set")
	}
	s, unloaded := e.stored(), e.fresh()
	// Before the outage: all of these probe what the storage supports.
	reads, writes := append(e.reads(), e.ownerCalls()...), e.writes()
	e.Cut()
	for _, op := range reads {
		e.fails(op.name+" in an outage", op.call(e.ctx, unloaded), session.ErrUnavailable)
	}
	for _, op := range writes {
		created := e.fresh()
		e.fails(op.name+" in an outage", op.call(e.ctx, created), session.ErrUnavailable)
		if created.Revision() != 0 {
			e.Errorf("a failed %s set the revision to %d", op.name, created.Revision())
		}
	}
	e.fails("Store of a change in an outage", e.Storage.Store(e.ctx, s.With("k", "v")), session.ErrUnavailable)
	if _, err := e.Storage.Load(e.ctx, s.ID()); err != nil { // a cache may still hold it
		e.fails("Load of a stored session in an outage", err, session.ErrUnavailable)
	}
	if err := e.Storage.DeleteExpired(e.ctx, time.Now()); err != nil && !errors.Is(err, session.ErrUnavailable) {
		e.Errorf("DeleteExpired in an outage: %v", err)
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
