package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const modernCalls = 24

// demoBasket is what the clients know of a basket: its handle, which is a secret of the user's.
type demoBasket struct {
	handle string
	items  []string
}

// useHandle calls tools without a session. What has to last is behind a handle.
func (d *demo) useHandle(ctx context.Context) error {
	d.headingf("Clients of protocol %s have no sessions: any replica, any backend", modernVersion)
	c, err := connectModern(ctx, ann, d.balancer.url)
	if err != nil {
		return err
	}
	defer c.close()
	before := loads(d.running())
	byBackend := make(map[string]int)
	for range modernCalls {
		var got answer
		err = errors.Join(err, c.call(ctx, "count", struct{}{}, &got))
		byBackend[got.Backend]++
	}
	now, spread := loads(d.running()), true
	for i := range now {
		spread = spread && now[i].since(before[i]).requests > 0
	}
	if a, b := byBackend["A"], byBackend["B"]; spread && a > 0 && b > 0 {
		d.noErrorf(err, "%d calls went through all %d replicas, %d to backend A and %d to backend B",
			modernCalls, len(now), a, b)
	} else {
		d.expectf(false, "%d calls went through all replicas to both backends", modernCalls)
	}

	running := d.running()
	d.noErrorf(d.basket.open(ctx, running[0], ann), "%s opens a basket through %s: a tool returns its handle",
		ann, running[0].name)
	for i, thing := range []string{"tea", "jam"} {
		r := running[i+1]
		d.noErrorf(d.basket.add(ctx, r, ann, thing), "%s puts %s into it through %s: now it has %s",
			ann, thing, r.name, strings.Join(d.basket.items, ", "))
	}
	err = d.basket.add(ctx, running[0], bob, "spam")
	d.expectf(err != nil, "%s has got hold of the handle, and is told: %v", bob, err)
	return nil
}

func (b *demoBasket) open(ctx context.Context, at *replica, user string) error {
	var got opened
	err := callOnce(ctx, at, user, "open_basket", struct{}{}, &got)
	b.handle = got.Basket
	return err
}

// add puts something into the basket, and remembers what is in there.
func (b *demoBasket) add(ctx context.Context, at *replica, user, thing string) error {
	var got basket
	if err := callOnce(ctx, at, user, "add_item", item{b.handle, thing}, &got); err != nil {
		return err
	}
	if len(got.Items) != len(b.items)+1 {
		return fmt.Errorf("the basket has %d items", len(got.Items))
	}
	b.items = got.Items
	return nil
}

// callOnce calls a tool through one replica.
func callOnce(ctx context.Context, at *replica, user, tool string, arguments, into any) error {
	c, err := connectModern(ctx, user, at.url)
	if err != nil {
		return err
	}
	defer c.close()
	return c.call(ctx, tool, arguments, into)
}

// runTask runs a task, which is in the memory of one backend.
func (d *demo) runTask(ctx context.Context) error {
	const size = 20
	d.headingf("A tool that takes long runs as a task, in the memory of one backend")
	c := taskClient{user: ann, transport: d.prober.transport}
	running := d.running()
	begun, err := c.begin(ctx, running[0].url, "render", pages{size})
	if err == nil && begun.ID == "" {
		err = errors.New("the answer is no task")
	}
	d.noErrorf(err, "%s asks for %d pages through %s, and gets a task at once", ann, size, running[0].name)
	knowers := 0
	for _, b := range d.backends {
		if _, err := c.get(ctx, b.url, begun.ID); err == nil {
			knowers++
		}
	}
	d.expectf(knowers == 1, "of the %d backends, %d knows the task", len(d.backends), knowers)
	for _, r := range running {
		for range d.backends { // by turns, without a route, one of them would be the wrong one
			_, asked := c.get(ctx, r.url, begun.ID)
			err = errors.Join(err, asked)
		}
	}
	d.noErrorf(err, "every replica sends each question to that one: a route was stored before the answer left")
	var now task
	done := eventually(ctx, func() bool {
		time.Sleep(pollInterval)
		now, err = c.get(ctx, running[len(running)-1].url, begun.ID)
		return err != nil || now.Status == "completed"
	})
	text := ""
	for _, content := range now.Result.Content {
		text = content.Text
	}
	d.expectf(done && err == nil && text != "", "%s, says the result: %q", now.Status, text)
	_, err = taskClient{user: bob, transport: c.transport}.get(ctx, running[0].url, begun.ID)
	d.expectf(err != nil, "to %s the task does not exist: %v", bob, err)
	return nil
}
