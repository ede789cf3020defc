package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// tell runs all parts in order. An error means that the demo could not continue.
func (d *demo) tell(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		d.openSessions, d.stopReplica, d.replaceReplica, d.whatThatTook,
		d.useHandle, d.runTask,
		d.endSession, d.revokeUser,
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

func answers(v verdict) bool { return v.status == http.StatusOK }

// gone is the answer of a replica that knows that the session has ended. The text of a backend is another.
func gone(v verdict) bool {
	return v.status == http.StatusNotFound && v.text == "the session has ended or never existed"
}

// goneInTime reports whether the replica gave no other answer for longer than MaxStaleness.
func (f finding) goneInTime() bool {
	return f.err == nil && gone(f.verdict) && f.lastOther < demoPace.maxStaleness
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
		n += b.count()
	}
	return n
}
