package main

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	clients        = 6
	callsPerClient = 20
)

func (d *demo) openSessions(ctx context.Context) error {
	d.headingf("%d clients of protocol %s open a session each; two of them are %s's", clients, legacyVersion, ann)
	for i := range clients {
		c, err := connect(ctx, "session "+strconv.Itoa(i+1), userOf(i), d.balancer.url)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, c)
	}
	a, b := d.backends[0].count(), d.backends[1].count()
	d.expectf(a > 0 && b > 0 && a+b == clients, "%d live in the memory of backend A, %d in that of backend B", a, b)
	d.expectf(d.hearAll(ctx), "a message from its backend reaches each client on its event stream")
	return nil
}

// userOf returns whose client it is.
func userOf(client int) string {
	if client < 2 {
		return ann
	}
	return bob
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
		d.prober.await(ctx, veterans, c.probed(), time.Now(), answers) // they hold most of the sessions; after this, all
	}
	r, err := d.addReplica(ctx, demoPace)
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
		time.Sleep(time.Until(start.Add(demoPace.refreshAfter)))
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
		"%s requests to replicas 1 and 2: %s waited for Redis, which got %d heartbeats and %d refreshes",
		grouped(sum.requests), grouped(sum.misses), sum.heartbeats, sum.refreshes)
}

func (d *demo) whatThatTook(ctx context.Context) error {
	d.headingf("What that took")
	var all []load
	explained := eventually(ctx, func() bool {
		all = loads(d.replicas)
		return !slices.ContainsFunc(all, func(l load) bool { return !l.explained() })
	})
	d.table(all)
	sum := total(all)
	d.expectf(explained && sum.hits > 0,
		"%d commands: %d remote loads, %d refreshes, %d writes, %d heartbeats, %d for indexes (Revoke, Fence),",
		sum.commands(), sum.loads, sum.refreshes, sum.writes, sum.heartbeats, sum.indexes)
	d.notef("  %d to keep the sessions of open streams alive, %d for the first use of a script",
		sum.streams(), sum.firstUses)
	d.notef("None is left for the %s local hits.", grouped(sum.hits))
	overdone := slices.ContainsFunc(all, load.overdone)
	d.expectf(!overdone && sum.heartbeats > 0 && sum.refreshed > 0,
		"a heartbeat per replica every %s (MaxStaleness/4), a refresh per busy session on it every %s (RefreshAfter)",
		brief(demoPace.heartbeat()), brief(demoPace.refreshAfter))
	d.notef("Commands per second, at any number of requests: replicas x (4/MaxStaleness + busy sessions/RefreshAfter), or")
	d.notef("less, because sessions that are due at about the same time share one. For 3 replicas with 1,000 busy")
	d.notef("sessions each, and the defaults, that would be 3 x (4/2 + 1,000/60) = 56, and is about 12.")
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
