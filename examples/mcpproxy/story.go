package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	clients        = 6
	callsPerClient = 20
)

// tell runs all parts in order. An error means that the demo could not continue.
func (d *demo) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.openSessions, d.stopReplica, d.replaceReplica, d.count, d.endSession,
		d.loseEvents, d.loseRedis, d.regainRedis, d.leave,
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
	d.headingf("A new replica takes its place; the clients call as fast as they can")
	veterans := d.running()
	for _, c := range d.clients {
		d.prober.await(ctx, veterans, c.session.ID(), time.Now(), answers) // they hold most of the sessions; after this, all
	}
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
		time.Sleep(time.Until(start.Add(refreshAfter)))
	})
	before := d.counts()
	earlier := loads(veterans)
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
	d.withoutLoads(ctx, veterans, earlier)
	d.expectf(heard, "clients whose event stream was cut have a new one: a message reaches all %d", len(d.clients))
	return nil
}

// withoutLoads checks which requests to Redis replicas that held all sessions have sent since an earlier time. On a
// machine so slow that a lease runs out, some loads wait for Redis; the storage counts them.
func (d *demo) withoutLoads(ctx context.Context, replicas []*replica, earlier []load) {
	var sum load
	explained := eventually(ctx, func() bool {
		now := loads(replicas)
		for i := range now {
			now[i] = now[i].since(earlier[i])
		}
		sum = total(now)
		return sum.explained() && sum.writes == 0
	})
	d.expectf(explained && sum.misses == sum.refused,
		"%s requests to replicas 1 and 2: %s waited for Redis, which got %d heartbeats, and %d refreshes with %d commands",
		grouped(sum.requests), grouped(sum.misses),
		sum.heartbeats, sum.background, sum.refreshes())
}

func (d *demo) count(ctx context.Context) error {
	d.headingf("What that took")
	var all []load
	explained := eventually(ctx, func() bool {
		all = loads(d.replicas)
		return !slices.ContainsFunc(all, func(l load) bool { return !l.explained() })
	})
	d.table(all)
	sum := total(all)
	d.expectf(explained && sum.hits > 0,
		"%d = %d remote loads + %d for %d refreshes + %d writes + %d heartbeats + %d for the first use of a script",
		sum.commands(), sum.remoteLoads, sum.refreshes(), sum.background, sum.writes, sum.heartbeats, sum.firstUses)
	d.notef("None is left for the %s local hits.", grouped(sum.hits))
	overdone := slices.ContainsFunc(all, load.overdone)
	d.expectf(!overdone && sum.heartbeats > 0 && sum.background > 0,
		"a heartbeat per replica every %s (MaxStaleness/4), a refresh per busy session on it every %s (RefreshAfter)",
		brief(heartbeat), brief(refreshAfter))
	d.notef("Commands per second, at any number of requests: replicas x (4/MaxStaleness + busy sessions/RefreshAfter), or")
	d.notef("less, because sessions that are due at about the same time share one. For 3 replicas with 1,000 busy")
	d.notef("sessions each, and the defaults, that would be 3 x (4/2 + 1,000/60) = 56, and is about 12.")
	return nil
}

// endLast makes the last client end its session. It returns the session's id, and when and by which replica it was
// deleted.
func (d *demo) endLast() (id string, by *replica, at time.Time) {
	last := len(d.clients) - 1
	c := d.clients[last]
	d.clients = d.clients[:last]
	id = c.session.ID()
	err := c.close()
	for _, r := range d.running() {
		if deleted := r.tally.deletedAt.Load(); deleted != nil && deleted.After(at) {
			by, at = r, *deleted
		}
	}
	if by == nil {
		err = errors.Join(err, errors.New("no replica has deleted it"))
	}
	d.noErrorf(err, "the client has ended %s", c.name)
	return id, by, at
}

func (d *demo) endSession(ctx context.Context) error {
	d.headingf("A session ends: its client sends DELETE, through one of the replicas")
	d.prober.await(ctx, d.running(), d.clients[len(d.clients)-1].session.ID(), time.Now(), answers)
	events := make(map[*replica]uint64)
	for _, r := range d.running() {
		events[r] = r.sessions.Stats().Events
	}
	id, by, at := d.endLast()
	for _, f := range d.prober.await(ctx, d.running(), id, at, gone) {
		role := "received the event, and"
		if f.replica == by {
			role = "has deleted it, and"
		}
		told := eventually(ctx, func() bool { return f.replica.sessions.Stats().Events > events[f.replica] })
		d.expectf(told && f.goneInTime(), "%s %s answers %s after %s", f.replica.name, role, f.said(), brief(f.after))
	}
	d.notef("Measured from the return of Delete to the first answer of each. The guarantee is %s.", brief(maxStaleness))
	d.noErrorf(d.each(func(c *client) error { return c.call(ctx) }), "the other %d sessions continue", len(d.clients))
	return nil
}

// loseEvents cuts a replica off from change events, and from nothing else.
func (d *demo) loseEvents(ctx context.Context) error {
	deaf := d.running()[len(d.running())-1]
	d.headingf("%s is cut off from change events, silently; its commands get through. A session ends elsewhere", deaf.name)
	// The copy must be one that only the lease keeps valid, and whose next refresh is not due too soon.
	id := d.clients[len(d.clients)-1].session.ID()
	refreshes := deaf.sessions.Stats().Refreshes
	eventually(ctx, func() bool {
		d.prober.await(ctx, d.running(), id, time.Now(), answers)
		return deaf.sessions.Stats().Refreshes > refreshes
	})
	time.Sleep(maxStaleness / 2)

	logged := len(deaf.journal.since(0))
	deaf.line.eventsCut.Store(true)
	var at time.Time
	d.balancer.without(deaf.url, func() { id, _, at = d.endLast() })
	for _, f := range d.prober.await(ctx, d.running(), id, at, gone) {
		if f.replica != deaf {
			d.expectf(f.goneInTime(), "%s answers %s after %s", f.replica.name, f.said(), brief(f.after))
			continue
		}
		d.expectf(f.goneInTime() && f.before > 0,
			"%s serves its copy for %s (%d answers), then its lease is over, and it answers %s",
			f.replica.name, brief(f.lastOther), f.before, f.said())
	}
	d.notef("Never longer than %s. The backend refused the requests that got through meanwhile.", brief(maxStaleness))
	d.noErrorf(d.each(func(c *client) error { return c.call(ctx) }), "the other %d sessions continue", len(d.clients))

	warned := eventually(ctx, func() bool { return len(deaf.journal.since(logged)) == 1 })
	deaf.line.eventsCut.Store(false)
	start := time.Now()
	leased := eventually(ctx, deaf.leased)
	d.expectf(leased, "the link is back; %s has a lease again after %s, by itself", deaf.name, brief(time.Since(start)))
	told := eventually(ctx, func() bool { return len(deaf.journal.since(logged)) == 2 }) // at most once a second
	log := deaf.journal.since(logged)
	d.expectf(warned && told && len(log) == 2, "its log has these two entries about it, and no other:")
	for _, entry := range log {
		d.notef("  %s", strings.ReplaceAll(entry, "\n", "\n         "))
	}
	return nil
}

func (d *demo) loseRedis(ctx context.Context) error {
	d.headingf("Redis is cut off")
	c := d.clients[0]
	id := c.session.ID()
	d.prober.await(ctx, d.running(), id, time.Now(), answers)
	d.store.takeAway()
	for _, f := range d.prober.await(ctx, d.running(), id, time.Now(), func(v verdict) bool { return !answers(v) }) {
		ok := f.err == nil && f.before > 0 && f.lastOther < maxStaleness && f.unavailable()
		d.expectf(ok, "%s serves its own copies for %s (%d answers), then answers %s",
			f.replica.name, brief(f.lastOther), f.before, f.said())
	}
	err := c.call(ctx)
	d.expectf(err != nil && !errors.Is(err, mcp.ErrSessionMissing), "that does not end a session for a client")

	only503 := true
	for range 5 {
		for _, f := range d.prober.await(ctx, d.running(), id, time.Now(), func(verdict) bool { return true }) {
			only503 = only503 && f.err == nil && f.unavailable()
		}
	}
	d.expectf(only503, "no replica answers 404 during the outage, only 503 with Retry-After")
	return nil
}

func (d *demo) regainRedis(ctx context.Context) error {
	d.headingf("Redis is back")
	start := time.Now()
	d.store.bringBack()
	for _, f := range d.prober.await(ctx, d.running(), d.clients[0].session.ID(), start, answers) {
		d.expectf(f.err == nil, "%s answers again after %s", f.replica.name, brief(f.after))
	}
	deaf := func(r *replica) bool { return !r.leased() }
	leased := eventually(ctx, func() bool { return !slices.ContainsFunc(d.running(), deaf) })
	d.expectf(leased, "all receive change events again after %s", brief(time.Since(start)))
	d.notef("A go-redis client that failed to connect many times tries again once per second.")
	err := d.each(func(c *client) error { return c.call(ctx) })
	d.noErrorf(err, "the clients continue with the same sessions, and no count was lost")
	d.expectf(d.hearAll(ctx), "event streams survived: a message reaches all %d", len(d.clients))
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

// gone is the answer of a replica that knows that the session has ended. A backend answers with another text.
func gone(v verdict) bool { return v.status == http.StatusNotFound && v.text == sessionGone }

// goneInTime reports whether the replica gave no other answer for longer than MaxStaleness.
func (f finding) goneInTime() bool {
	return f.err == nil && gone(f.verdict) && f.lastOther < maxStaleness
}

// each runs do for all clients at once.
func (d *demo) each(do func(c *client) error) error {
	errs := make([]error, len(d.clients))
	var all sync.WaitGroup
	for i, c := range d.clients {
		all.Go(func() { errs[i] = do(c) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// hearAll makes the backends announce a message, repeatedly, until every client has received it on its event stream.
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

// eventually reports whether a condition comes true before patience ends.
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
