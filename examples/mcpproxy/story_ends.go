package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// endLast makes the last client end its session. It returns the session, by which replica it was deleted, and when the
// client had its answer.
func (d *demo) endLast() (ended probed, by *replica, at time.Time) {
	last := len(d.clients) - 1
	c := d.clients[last]
	d.clients = d.clients[:last]
	ended = c.probed()
	deletes := make(map[*replica]uint64)
	for _, r := range d.running() {
		deletes[r] = r.deletes.Load()
	}
	err := c.close()
	at = time.Now()
	for _, r := range d.running() {
		if r.deletes.Load() > deletes[r] {
			by = r
		}
	}
	if by == nil {
		err = errors.Join(err, errors.New("no replica has deleted it"))
	}
	d.noErrorf(err, "the client has ended %s", c.name)
	return ended, by, at
}

func (d *demo) endSession(ctx context.Context) error {
	d.headingf("A session ends: its client sends DELETE, through one of the replicas")
	d.prober.await(ctx, d.running(), d.clients[len(d.clients)-1].probed(), time.Now(), answers)
	events := make(map[*replica]uint64)
	for _, r := range d.running() {
		events[r] = r.sessions.Stats().Events
	}
	ended, by, at := d.endLast()
	for _, f := range d.prober.await(ctx, d.running(), ended, at, gone) {
		role := "received the event, and"
		if f.replica == by {
			role = "has deleted it, and"
		}
		told := eventually(ctx, func() bool { return f.replica.sessions.Stats().Events > events[f.replica] })
		d.expectf(told && f.goneInTime(), "%s %s answers %s after %s", f.replica.name, role, f.said(), brief(f.after))
	}
	d.notef("Measured from the client's answer to the first of each replica. The guarantee is %s.",
		brief(demoPace.maxStaleness))
	d.noErrorf(d.each(func(c *client) error { return c.call(ctx) }), "the other %d sessions continue", len(d.clients))
	return nil
}

// revokeUser ends all that a user has, as an administrator would. It happens on one replica, and holds on all of them.
func (d *demo) revokeUser(ctx context.Context) error {
	d.headingf("%s is locked out: Revoke on replica 1, which waits until no replica serves her sessions", ann)
	var theirs []*client
	for _, c := range d.clients {
		if c.user == ann {
			theirs = append(theirs, c)
			d.prober.await(ctx, d.running(), c.probed(), time.Now(), answers)
		}
	}
	d.clients = slices.DeleteFunc(d.clients, func(c *client) bool { return c.user == ann })

	start := time.Now()
	revoked, err := d.replicas[0].sessions.Revoke(ctx, principal(ann))
	if err == nil && revoked != len(theirs) {
		err = errors.New("she has others")
	}
	d.noErrorf(err, "Revoke has ended %d sessions of hers, and returned after %s", revoked, brief(time.Since(start)))
	late := 0
	for _, c := range theirs {
		for _, f := range d.prober.await(ctx, d.running(), c.probed(), time.Now(), gone) {
			if f.err != nil || f.before > 0 {
				late++
			}
		}
		_ = c.close() // of a session that is gone
	}
	d.expectf(late == 0, "from then on, not one request of hers is served: the first answer of each replica is 404")

	revoked, err = d.backends[0].baskets.Revoke(ctx, principal(ann))
	if err == nil && revoked != 1 {
		err = errors.New("it was not there")
	}
	d.noErrorf(err, "her basket has gone, too: Revoke of the handles, on backend A")
	d.expectf(d.basket.add(ctx, d.replicas[1], ann, "hat") != nil, "no backend takes the handle any more")
	d.noErrorf(d.each(func(c *client) error { return c.call(ctx) }), "the %d sessions of %s continue", len(d.clients), bob)
	return nil
}
