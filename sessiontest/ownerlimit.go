package sessiontest

import (
	"time"

	"github.com/seed34611480/session"
)

// ownerLimit: no principal has more sessions than the storage allows, and what is full refuses or makes room.
func ownerLimit(e *env) {
	if e.OwnerLimit <= 0 {
		e.Skipf("Subject.OwnerLimit is not set")
	}
	mine := e.principal()
	var sessions []*session.Session
	for range e.OwnerLimit {
		sessions = append(sessions, e.ownedBy(mine, 1)...)
		if len(sessions) < 10 {
			time.Sleep(2 * time.Millisecond) // so that it is known which one is idle longest
		}
	}
	e.lists(mine, "at the limit", sessions...)
	sessions[0] = sessions[0].With("k", "v")
	e.store(sessions[0])
	e.untouched("a change at the limit", sessions[0])
	sessions[0] = session.New(sessions[0].ID()).WithPrincipal(mine) // without a revision
	e.store(sessions[0])
	e.lists(mine, "after one was replaced at the limit", sessions...)
	e.store(e.fresh().WithPrincipal(""))
	other := e.ownedBy(e.principal(), 1)[0]

	moved := other.WithPrincipal(mine)
	type oneMore struct {
		operation
		s *session.Session
	}
	news := []oneMore{{operation{"Store of a session of another owner", e.Storage.Store}, moved}}
	for _, op := range e.creates() {
		news = append(news, oneMore{operation{op.name + " of a new session", op.call}, e.fresh().WithPrincipal(mine)})
	}
	if e.OverLimit == session.RefuseNew {
		for _, n := range news {
			e.fails(n.name+" over the limit", n.call(e.ctx, n.s), session.ErrTooMany)
		}
		e.untouched("a refused Store", other)
		e.lists(mine, "after refusals", sessions...)
		e.delete(sessions[0].ID())
		sessions = sessions[1:]
		e.store(news[1].s)
		e.lists(mine, "after one has made room", append(sessions, news[1].s)...)
		return
	}
	idle := sessions[1:] // the first one was stored again
	if e.Staleness == 0 {
		e.load(idle[0].ID()) // a cache may tell that later
		idle = idle[1:]
	}
	for i, n := range news {
		idlest := idle[i]
		if err := n.call(e.ctx, n.s); err != nil {
			e.Fatalf("%s over the limit: %v", n.name, err)
		}
		e.settle()
		e.gone(idlest.ID(), "of the idlest session after "+n.name)
		e.fails("Store of a copy of it", e.Storage.Store(e.ctx, idlest), session.ErrNotFound)
	}
}
