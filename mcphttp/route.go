package mcphttp

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/mcphttp/internal/learn"
)

// keyType is the type of the sessions that are routing keys. A client may name one of these in its Mcp-Session-Id.
const keyType session.Type = "mcp-key"

// sessionLoaded binds a request to its session.
func (p *Proxy) sessionLoaded(ctx context.Context, s *session.Session) error {
	target, ok := p.targetOf(s)
	if !ok {
		return session.ErrNotFound
	}
	x := exchangeOf(ctx)
	x.target, x.bound = target, byState
	return nil
}

// sessionCreated returns what is stored of a session.
func (p *Proxy) sessionCreated(ctx context.Context, s *session.Session) *session.Session {
	x := exchangeOf(ctx)
	x.bound = byState // for the DELETE, if it cannot be stored
	return x.target.in(s)
}

// route chooses the target of a request that belongs to no session.
func (p *Proxy) route(r *http.Request, x *exchange) error {
	modern, post := Modern(r), r.Method == http.MethodPost
	x.begins = !modern && post
	x.learns = modern && post && r.Header.Get(methodHeader) == callMethod
	var tasks []string
	isAbout := false
	if modern && post {
		var err error
		if tasks, isAbout, err = p.tasksOf(r, x.body); err != nil {
			return err
		}
	}
	if x.learns || isAbout {
		var err error
		if x.owner, err = p.ownerOf(r); err != nil {
			return err
		}
	}
	if isAbout {
		err := p.toTasks(r.Context(), x, tasks)
		if !errors.Is(err, session.ErrNotFound) {
			return err
		}
		if p.owner != nil {
			return errNoTask // the backend may not ask whose the task is
		}
	}
	if id, ok := p.affinityOf(r); ok {
		return p.assign(r.Context(), x, id)
	}
	return p.spread(x)
}

// spread sends a request to any backend that was not tried yet.
func (p *Proxy) spread(x *exchange) error {
	backend := p.backends.next(x.begins, p.health, x.tried)
	if backend == nil {
		return errNoBackend
	}
	x.target = target{backend: backend}
	return nil
}

// tasksOf returns the tasks that a request of the modern era is about, and whether it is about tasks. Without owners
// they are only places, and what the headers say is enough.
func (p *Proxy) tasksOf(r *http.Request, body []byte) (tasks []string, isAbout bool, err error) {
	if p.owner != nil {
		return claimedBy(r, body)
	}
	if task := taskOf(r, body); task != "" {
		tasks = []string{task}
	}
	return tasks, tasks != nil, nil
}

// toTasks sends a request to the backend that has the first of its tasks. [session.ErrNotFound]: the request's owner
// has not begun all of them, or there is none.
func (p *Proxy) toTasks(ctx context.Context, x *exchange, tasks []string) error {
	if len(tasks) == 0 {
		return session.ErrNotFound
	}
	for i, task := range tasks {
		s, err := p.storage.Load(ctx, keyID(taskKind, x.owner, task))
		if err != nil {
			return err
		}
		target, ok := p.targetOf(s)
		switch {
		case !ok:
			return errGone
		case i == 0:
			x.target = target
		}
	}
	x.bound = byState
	return nil
}

// assign sends a request to the backend of a key. The first request with the key chooses that.
func (p *Proxy) assign(ctx context.Context, x *exchange, id string) error {
	x.key = id
	for range 4 { // each time another replica was faster
		s, err := p.storage.Load(ctx, id)
		switch {
		case errors.Is(err, session.ErrNotFound):
			err = p.assignNew(ctx, x, id)
		case err == nil:
			err = p.assignOld(ctx, x, s)
		}
		if !errors.Is(err, session.ErrExists) && !errors.Is(err, session.ErrNotFound) {
			return err
		}
	}
	return session.ErrUnavailable
}

func (p *Proxy) assignNew(ctx context.Context, x *exchange, id string) error {
	if err := p.spread(x); err != nil {
		return err
	}
	x.bound = byAffinity
	return session.Create(ctx, p.storage, x.target.in(session.New(id).WithType(keyType)))
}

// assignOld sends a request to where its key leads. If that is dead, the key gets another backend: other than a
// session, it has no client that could begin anew.
func (p *Proxy) assignOld(ctx context.Context, x *exchange, s *session.Session) error {
	old, ok := p.targetOf(s)
	if ok && !p.health.isDead(old.host()) {
		x.target, x.bound = old, byAffinity
		return nil
	}
	if err := p.spread(x); err != nil {
		return err
	}
	x.bound = byAffinity
	_, err := session.Update(ctx, p.storage, s.ID(), func(s *session.Session) (*session.Session, error) {
		if now, ok := p.targetOf(s); ok && now != old {
			x.target = now // another replica has noticed, too
			return s, nil
		}
		return x.target.in(s), nil
	})
	return err
}

// keepAddress stores which address of a backend's name a key leads to, once one was dialled.
func (p *Proxy) keepAddress(ctx context.Context, x *exchange) {
	_, err := session.Update(ctx, p.storage, x.key, func(s *session.Session) (*session.Session, error) {
		if now, ok := p.targetOf(s); !ok || now.backend != x.target.backend || now.address != "" {
			return s, nil
		}
		return x.target.in(s), nil
	})
	if err != nil {
		p.logger.Warn("mcphttp: the address of a backend could not be stored", "error", errs.Shown(err))
	}
}

const (
	defaultTTL = 10 * time.Minute    // for how long a storage keeps a key at least, if it does not tell
	longTask   = 30 * 24 * time.Hour // no key lives for longer without being used
)

// keepTask stores which backend has a task. It is called while the client does not know the task yet.
func (p *Proxy) keepTask(ctx context.Context, x *exchange, task learn.Task) error {
	s := session.New(keyID(taskKind, x.owner, task.ID)).WithType(keyType)
	if task.TTL > cmp.Or(p.ttl, defaultTTL) {
		s = s.WithIdleTimeout(min(task.TTL, longTask))
	}
	err := session.Create(ctx, p.storage, x.target.in(s))
	if errors.Is(err, session.ErrExists) {
		err = p.sameTask(ctx, x, s.ID())
	}
	if err != nil {
		p.logger.Warn("mcphttp: a task could not be stored: its answer is cut", "error", errs.Shown(err))
	}
	return err
}

// sameTask allows a backend to announce its task twice. That of another one stays where it is.
func (p *Proxy) sameTask(ctx context.Context, x *exchange, id string) error {
	s, err := p.storage.Load(ctx, id)
	if err != nil {
		return err
	}
	if old, ok := p.targetOf(s); !ok || old != x.target {
		return errTaken
	}
	return nil
}
