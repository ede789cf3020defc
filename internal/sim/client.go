package sim

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/seed34611480/session"
)

// client does one operation after the other, on any replica, like a client behind a load balancer. Its copy of a
// session may be outdated when it stores it again: that is how a deleted session could come back.
type client struct {
	world *world
	index int
	rng   *rand.Rand
	reads *rand.Rand
	lives *rand.Rand
	owns  *rand.Rand
	known map[string]*session.Session
	ops   []*Op
}

func (c *client) run() {
	w := c.world
	turn := clientLane + lane(c.index)
	usual := c.rng.IntN(w.Replicas)
	for {
		// Sometimes long enough for a session to expire.
		think := skewed(c.rng, c.world.Think)
		if chance(c.rng, 0.002) {
			think = upTo(c.rng, 2*w.TTL)
		}
		w.sleep(context.Background(), turn.from(w.now()+think))
		if w.now() > w.Duration {
			return
		}
		if chance(c.rng, 0.05) {
			usual = c.rng.IntN(w.Replicas)
		}
		r := w.replicas[usual]
		c.awaitReplica(r)
		c.do(r)
	}
}

// awaitReplica holds a request while its replica is stopped.
func (c *client) awaitReplica(r *replica) {
	w := c.world
	for {
		w.mu.Lock()
		until := r.link.pausedUntil
		w.mu.Unlock()
		if w.now() >= until {
			return
		}
		w.sleep(context.Background(), (clientLane + lane(c.index)).from(until+skewed(c.rng, w.Delay)))
	}
}

func (c *client) do(r *replica) {
	w := c.world
	op := &Op{Client: c.index, Number: len(c.ops), Replica: r.link.replica, Kind: c.kind()}
	number := c.rng.IntN(w.IDs)
	op.ID, op.Owner = nameOf(number), ownerOf(number)
	w.mu.Lock()
	st := r.storage
	op.Life, op.AfterClose = r.life, r.closed
	w.mu.Unlock()
	c.ops = append(c.ops, op)
	ctx, cancel := c.patience(op)
	defer cancel()
	op.Invoked = w.now()
	s, err := c.perform(context.WithValue(ctx, opKey{}, op), st, op)
	op.Returned, op.Outcome = w.now(), outcomeOf(err)
	if err == nil && s != nil {
		op.Revision, op.ExpiresAt = s.Revision(), s.ExpiresAt()
		op.Got, _ = s.Get("v")
		c.known[op.ID] = s
	}
	stats := st.Stats()
	op.Entries, op.ProofAge = stats.Entries, stats.ProofAge
}

func (c *client) kind() Kind {
	if c.world.Fencing && chance(c.rng, c.world.Writes/2) {
		return Fence
	}
	if !chance(c.rng, c.world.Writes) {
		return c.read()
	}
	if chance(c.owns, c.world.Revokes) {
		return Revoke
	}
	switch p := c.rng.Float64(); {
	case p < 0.6:
		return Store
	case p < 0.7:
		return Create
	case p < 0.9:
		return Delete
	case p < 0.98:
		return Take
	default:
		return DeleteExpired
	}
}

// read returns which read the client calls.
func (c *client) read() Kind {
	w := c.world
	switch p := c.reads.Float64(); {
	case p < w.Fresh:
		return LoadFresh
	case p < w.Fresh+w.Peeks:
		return Peek
	}
	return Load
}

// patience returns the context of an operation. Some operations are given up early, by a deadline or by a call of
// cancel.
func (c *client) patience(op *Op) (context.Context, context.CancelFunc) {
	w := c.world
	if op.Impatient = chance(c.rng, w.Impatience); !op.Impatient {
		return context.Background(), func() {}
	}
	end := (contextLane + lane(c.index)).from(w.now() + upTo(c.rng, pick(c.rng, 2*w.Delay, w.Staleness)))
	if chance(c.rng, 0.5) {
		return context.WithDeadline(context.Background(), w.start.Add(end))
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(end-w.now(), cancel)
	return ctx, cancel
}

func (c *client) perform(ctx context.Context, st *session.RoutingStorage, op *Op) (*session.Session, error) {
	switch op.Kind {
	case Load:
		return st.Load(ctx, op.ID)
	case LoadFresh:
		return st.LoadFresh(ctx, op.ID)
	case Peek:
		return st.Peek(ctx, op.ID)
	case Store:
		s := c.draft(op)
		return s, st.Store(ctx, s)
	case Create:
		s := c.draft(op)
		return s, st.Create(ctx, s)
	case Delete:
		return nil, st.Delete(ctx, op.ID)
	case Take:
		return st.Take(ctx, op.ID)
	case Fence:
		return nil, st.Fence(ctx)
	case Revoke:
		_, err := st.Revoke(ctx, op.Owner)
		return nil, err
	case DeleteExpired:
		idle := skewed(c.rng, 2*c.world.TTL)
		if c.world.Fresh > 0 && chance(c.reads, 0.5) {
			idle = 0 // removes all that is not used at the same time
		}
		return nil, st.DeleteExpired(ctx, time.Now().Add(-idle))
	}
	panic(op.Kind)
}

// draft returns the session to store: a change of the copy that the client has, the same copy again, or a new session.
func (c *client) draft(op *Op) *session.Session {
	s := c.known[op.ID]
	fresh := s == nil || chance(c.rng, 0.3)
	switch {
	case !fresh && chance(c.rng, 0.1):
	default:
		if fresh {
			s = session.New(op.ID).WithPrincipal(op.Owner)
			if chance(c.lives, c.world.OwnIdle) {
				s = s.WithIdleTimeout(c.world.ownIdle(c.lives))
			}
		}
		s = s.With("v", "v"+strconv.Itoa(c.index)+"."+strconv.Itoa(op.Number)).WithExpiresAt(time.Time{})
		if chance(c.rng, 0.2) {
			s = s.WithExpiresAt(time.Now().Add(upTo(c.rng, 4*c.world.Staleness)))
		} else if s.IdleTimeout() == session.NoIdleTimeout { // it would never end
			s = s.WithExpiresAt(time.Now().Add(upTo(c.lives, 4*c.world.TTL)))
		}
	}
	op.Base = s.Revision()
	op.Value, _ = s.Get("v")
	return s
}
