package sessiontest

import (
	"context"
	"errors"
	"reflect"

	"github.com/seed34611480/session"
)

// supported returns the storage as a C if it really is one: a wrapper has the method even when the storage that it
// wraps does not support it. call calls the method.
func supported[C any](e *env, call func(C) error) (C, bool) {
	c, ok := e.Storage.(C)
	return c, ok && !errors.Is(call(c), errors.ErrUnsupported)
}

// need returns what find finds, and skips the case if the storage has no such capability.
func need[C any](e *env, find func() (C, bool)) C {
	e.Helper()
	c, ok := find()
	if !ok {
		e.Skipf("the storage is not a %v", reflect.TypeFor[C]())
	}
	return c
}

func (e *env) creator() (session.Creator, bool) {
	return supported(e, func(c session.Creator) error {
		probe := e.fresh()
		err := c.Create(e.ctx, probe)
		if err == nil {
			e.delete(probe.ID())
		}
		return err
	})
}

func (e *env) replacer() (session.Replacer, bool) {
	return supported(e, func(r session.Replacer) error { return r.Replace(e.ctx, e.fresh()) })
}

func (e *env) taker() (session.Taker, bool) {
	return supported(e, func(t session.Taker) error {
		_, err := t.Take(e.ctx, e.secret(session.NewID()))
		return err
	})
}

func (e *env) peeker() (session.Peeker, bool) {
	return supported(e, func(p session.Peeker) error {
		_, err := p.Peek(e.ctx, e.secret(session.NewID()))
		return err
	})
}

func (e *env) revalidator() (session.Revalidator, bool) {
	return supported(e, func(r session.Revalidator) error {
		_, err := r.Revalidate(e.ctx, nil)
		return err
	})
}

func (e *env) revoker() (session.Revoker, bool) {
	return supported(e, func(r session.Revoker) error {
		_, err := r.Revoke(e.ctx, e.principal())
		return err
	})
}

func (e *env) lister() (session.Lister, bool) {
	return supported(e, func(l session.Lister) error {
		for _, err := range l.Sessions(e.ctx, e.principal()) {
			return err
		}
		return nil
	})
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
		ops = append(ops, operation{"Peek", func(ctx context.Context, s *session.Session) error {
			_, err := p.Peek(ctx, s.ID())
			return err
		}})
	}
	if r, ok := e.revalidator(); ok {
		ops = append(ops, operation{"Revalidate", func(ctx context.Context, s *session.Session) error {
			_, err := r.Revalidate(ctx, uses(0, s))
			return err
		}})
	}
	return ops
}

// ownerCalls are the operations that are given the principal of a session, as far as the storage supports them.
func (e *env) ownerCalls() []operation {
	var ops []operation
	if r, ok := e.revoker(); ok {
		ops = append(ops, operation{"Revoke", func(ctx context.Context, s *session.Session) error {
			_, err := r.Revoke(ctx, s.Principal())
			return err
		}})
	}
	if l, ok := e.lister(); ok {
		ops = append(ops, operation{"Sessions", func(ctx context.Context, s *session.Session) error {
			for _, err := range l.Sessions(ctx, s.Principal()) {
				if err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return ops
}
