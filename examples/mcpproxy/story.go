package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	clients        = 6
	callsPerClient = 20
)

// tell plays the story through. An error means that it could not go on.
func (d *demo) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.openSessions, d.stopReplica, d.replaceReplica, d.count, d.endSession, d.loseRedis, d.regainRedis, d.leave,
	} {
		if err := part(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *demo) openSessions(ctx context.Context) error {
	d.headingf("%d clients open a session each", clients)
	for i := range clients {
		c, err := connect(ctx, "session "+strconv.Itoa(i+1), d.balancer.url)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, c)
	}
	a, b := d.backends[0].sessions(), d.backends[1].sessions()
	d.expectf(a > 0 && b > 0 && a+b == clients, "%d live in the memory of backend A, %d in that of backend B", a, b)
	d.expectf(d.hearAll(ctx), "a message from its backend reaches each client on its event stream")
	return nil
}

func (d *demo) stopReplica(ctx context.Context) error {
	victim := d.replicas[2]
	d.headingf("Each calls the tool %d times, all at once; half-way, %s is stopped", callsPerClient, victim.name)
	var (
		calls    atomic.Int64
		stopping sync.WaitGroup
		stopErr  error
		stopTook time.Duration
	)
	err := d.each(func(c *client) error {
		for range callsPerClient {
			if err := c.call(ctx); err != nil {
				return err
			}
			if calls.Add(1) == clients*callsPerClient/2 {
				stopping.Go(func() {
					start := time.Now()
					stopErr = d.retire(ctx, victim)
					stopTook = time.Since(start)
				})
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	})
	stopping.Wait()
	d.noErrorf(err, "%d calls, none failed", calls.Load())
	astray := slices.ContainsFunc(d.clients, func(c *client) bool { return c.count != callsPerClient })
	d.expectf(!astray, "each session counted exactly 1, 2, ... %d: every call found its backend", callsPerClient)
	d.noErrorf(stopErr, "%s finished its calls and was gone in %s", victim.name, brief(stopTook))
	return nil
}

func (d *demo) replaceReplica(ctx context.Context) error {
	d.headingf("A new replica takes its place, and the clients call as fast as they can")
	r, err := d.addReplica(ctx)
	if err != nil {
		return err
	}
	var (
		enough   atomic.Bool
		heard    bool
		watching sync.WaitGroup
		start    = time.Now()
	)
	watching.Go(func() {
		defer enough.Store(true)
		heard = d.hearAll(ctx)
		time.Sleep(time.Until(start.Add(time.Second)))
	})
	before := d.counts()
	err = d.each(func(c *client) error {
		for !enough.Load() {
			if err := c.call(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	watching.Wait()
	d.noErrorf(err, "%s calls in %s, none failed, no count was skipped",
		grouped(d.counts()-before), brief(time.Since(start)))
	d.expectf(r.requests.Load() > 0, "%s knew no session, and answered %s requests", r.name, grouped(r.load().requests))
	d.expectf(heard, "clients whose event stream was cut have a new one: a message reaches all %d", len(d.clients))
	return nil
}

func (d *demo) count(context.Context) error {
	d.headingf("What that took")
	loads := loads(d.replicas)
	d.table(loads)
	all := total(loads)
	d.notef("%s Redis commands per 1,000 requests. A lookup in Redis for each would be 1,000.",
		grouped(1000*all.commands/max(all.requests, 1)))
	d.notef("A replica asks again for a busy session every %s, whatever the number of requests.", brief(maxStaleness/2))
	// Besides loads there is one write for each session. The first one takes a second command, to upload the script.
	d.expectf(all.hits > 0 && all.commands <= all.remoteLoads+2*clients,
		"Redis saw the remote loads and the new sessions, and nothing of %s local hits", grouped(all.hits))
	return nil
}

func (d *demo) endSession(ctx context.Context) error {
	last := len(d.clients) - 1
	c := d.clients[last]
	d.clients = d.clients[:last]
	d.headingf("A session ends: its client sends DELETE, through one of the replicas")
	id := c.session.ID()
	d.noErrorf(c.close(), "the client has ended %s", c.name)
	findings := d.prober.await(ctx, d.running(), id, func(v verdict) bool { return v.text == sessionGone })
	for _, f := range findings {
		ok := f.err == nil && f.status == http.StatusNotFound && f.lastOther < maxStaleness
		d.expectf(ok, "%s answers %s after %s", f.replica.name, f.said(), brief(f.after))
	}
	d.notef("A replica may use a copy until that is %s old. The backend has refused the session from the start.",
		brief(maxStaleness))
	d.noErrorf(d.each(func(c *client) error { return c.call(ctx) }), "the other %d sessions go on", len(d.clients))
	return nil
}

func (d *demo) loseRedis(ctx context.Context) error {
	d.headingf("Redis is cut off")
	c := d.clients[0]
	id := c.session.ID()
	// A copy that is about to expire is renewed by the first of these, in the background.
	d.prober.await(ctx, d.running(), id, answers)
	time.Sleep(100 * time.Millisecond)
	d.prober.await(ctx, d.running(), id, answers)
	d.store.takeAway()
	for _, f := range d.prober.await(ctx, d.running(), id, func(v verdict) bool { return !answers(v) }) {
		ok := f.err == nil && f.before > 0 && f.lastOther < maxStaleness && f.unavailable()
		d.expectf(ok, "%s goes on with its own copies for %s (%d answers), then says %s",
			f.replica.name, brief(f.lastOther), f.before, f.said())
	}
	err := c.call(ctx)
	d.expectf(err != nil && !errors.Is(err, mcp.ErrSessionMissing), "to a client that is no reason to give up its session")

	only503 := true
	for range 5 {
		for _, f := range d.prober.await(ctx, d.running(), id, func(verdict) bool { return true }) {
			only503 = only503 && f.err == nil && f.unavailable()
		}
	}
	d.expectf(only503, "nobody says 404 as long as it lasts: 503, with Retry-After")
	return nil
}

func (d *demo) regainRedis(ctx context.Context) error {
	d.headingf("Redis is back")
	d.store.bringBack()
	for _, f := range d.prober.await(ctx, d.running(), d.clients[0].session.ID(), answers) {
		d.expectf(f.err == nil, "%s answers again after %s", f.replica.name, brief(f.after))
	}
	d.notef("A go-redis client that has failed to connect many times tries again once a second.")
	err := d.each(func(c *client) error { return c.call(ctx) })
	d.noErrorf(err, "the clients go on with the same sessions, and no count was lost")
	d.expectf(d.hearAll(ctx), "event streams have outlived it: a message reaches all %d", len(d.clients))
	return nil
}

func (d *demo) leave(ctx context.Context) error {
	d.headingf("All clients leave")
	err := d.each((*client).close)
	d.clients = nil
	d.noErrorf(err, "each has ended its session")
	d.expectf(eventually(ctx, func() bool { return d.sessions() == 0 }), "the backends remember none")
	return nil
}

func answers(v verdict) bool { return v.status == http.StatusOK }

// each does something with all clients at once.
func (d *demo) each(do func(c *client) error) error {
	errs := make([]error, len(d.clients))
	var all sync.WaitGroup
	for i, c := range d.clients {
		all.Go(func() { errs[i] = do(c) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// hearAll lets the backends announce something, again and again, until every client has heard it on its event stream.
func (d *demo) hearAll(ctx context.Context) bool {
	first := int64(d.round + 1)
	return eventually(ctx, func() bool {
		d.round++
		for _, b := range d.backends {
			b.announce(ctx, d.round)
		}
		return !slices.ContainsFunc(d.clients, func(c *client) bool { return c.heard.Load() < first })
	})
}

// eventually reports whether something comes about before patience ends.
func eventually(ctx context.Context, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

func (d *demo) counts() int {
	n := 0
	for _, c := range d.clients {
		n += c.count
	}
	return n
}

func (d *demo) sessions() int {
	n := 0
	for _, b := range d.backends {
		n += b.sessions()
	}
	return n
}
