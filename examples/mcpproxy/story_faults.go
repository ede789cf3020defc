package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// loseEvents cuts a replica off from change events, and from nothing else.
func (d *demo) loseEvents(ctx context.Context) error {
	deaf := d.running()[len(d.running())-1]
	d.headingf("%s is cut off from change events, silently; its commands get through. A session ends elsewhere", deaf.name)
	// The copy must be one that only the lease keeps valid, and whose next refresh is not due too soon.
	last := d.clients[len(d.clients)-1].probed()
	refreshes := deaf.sessions.Stats().Refreshes
	eventually(ctx, func() bool {
		d.prober.await(ctx, d.running(), last, time.Now(), answers)
		return deaf.sessions.Stats().Refreshes > refreshes
	})
	time.Sleep(demoPace.maxStaleness / 2)

	logged := len(deaf.journal.since(0))
	deaf.line.eventsCut.Store(true)
	var at time.Time
	d.balancer.without(deaf.url, func() { last, _, at = d.endLast() })
	var (
		fencing  sync.WaitGroup
		fenceErr error
		fenced   time.Duration
	)
	fencing.Go(func() {
		fenceErr = d.running()[0].sessions.Fence(ctx)
		fenced = time.Since(at)
	})
	findings := d.prober.await(ctx, d.running(), last, at, gone)
	fencing.Wait()
	served := false // after the fence
	for _, f := range findings {
		served = served || f.before > 0 && f.lastOther > fenced
		if f.replica != deaf {
			d.expectf(f.goneInTime(), "%s answers %s after %s", f.replica.name, f.said(), brief(f.after))
			continue
		}
		d.expectf(f.goneInTime() && f.before > 0,
			"%s serves its copy for %s (%d answers), then its lease is over, and it answers %s",
			f.replica.name, brief(f.lastOther), f.before, f.said())
	}
	d.notef("Never longer than %s. The backend refused the requests that got through meanwhile.",
		brief(demoPace.maxStaleness))
	if !served {
		d.noErrorf(fenceErr, "a Fence on %s waited for that: it returned after %s, and no replica served the session later",
			d.running()[0].name, brief(fenced))
	} else {
		d.expectf(false, "a Fence returned after %s, and a replica served the session later", brief(fenced))
	}
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
	d.prober.await(ctx, d.running(), c.probed(), time.Now(), answers)
	d.store.takeAway()
	refuses := func(v verdict) bool { return !answers(v) }
	for _, f := range d.prober.await(ctx, d.running(), c.probed(), time.Now(), refuses) {
		ok := f.err == nil && f.before > 0 && f.lastOther < demoPace.maxStaleness && f.unavailable()
		d.expectf(ok, "%s serves its own copies for %s (%d answers), then answers %s",
			f.replica.name, brief(f.lastOther), f.before, f.said())
	}
	err := c.call(ctx)
	d.expectf(err != nil && !errors.Is(err, mcp.ErrSessionMissing), "that does not end a session for a client")

	only503 := true
	for range 5 {
		for _, f := range d.prober.await(ctx, d.running(), c.probed(), time.Now(), func(verdict) bool { return true }) {
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
	for _, f := range d.prober.await(ctx, d.running(), d.clients[0].probed(), start, answers) {
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
