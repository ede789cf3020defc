package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// fate is every random choice about a call.
type fate struct {
	lane           int64
	request, reply time.Duration // how long they take
	patience       time.Duration // after which the caller gives up
	loses          string        // "request", "reply" or "" for neither
	reset          bool          // a loss is noticed at once
	deaf           bool          // the call ignores the end of the caller's context
	wakeUp         time.Duration // the call's turn to go on after its replica has paused
}

// lot is a source of random numbers and lanes for some calls. A replica may begin calls for several sessions at the
// same instant: if they shared a lot, the order in which they draw would matter.
type lot struct {
	rng   *rand.Rand
	first int64 // lane
	lanes int64
	drawn int64
}

const lotLanes = callLanes / (maxReplicas * (maxIDs + 2))

// newLots returns a replica's lots for its calls, and the one for its heartbeats.
func newLots(c *Config, replica int) (lots map[string]*lot, beats *lot) {
	number := replica * (maxIDs + 2)
	next := func() *lot {
		number++
		return &lot{rng: stream(c.Seed, linkStream+uint64(number)), first: int64(number-1) * lotLanes, lanes: lotLanes}
	}
	lots = map[string]*lot{"": next()}
	beats = next()
	for i := range c.IDs {
		lots[nameOf(i)] = next()
	}
	return lots, beats
}

// draw decides a call's fate, as far as other calls do not affect it: links, the server and the replica may still
// change before the call ends.
func (l *link) draw(from *lot) fate {
	w := l.world
	w.calls++
	from.drawn++
	rng := from.rng
	f := fate{
		lane:    from.first + from.drawn%from.lanes,
		request: skewed(rng, w.Delay), reply: skewed(rng, w.Delay),
		patience: w.LoadTimeout + upTo(rng, w.Staleness),
		wakeUp:   upTo(rng, w.Delay),
		deaf:     chance(rng, 0.05),
		reset:    chance(rng, 0.5),
	}
	if chance(rng, w.CallFaults) {
		f.loses = pick(rng, "request", "reply")
	}
	slow := upTo(rng, 2*w.Staleness)
	switch now := w.now(); {
	case now < l.losesRequests:
		f.loses = "request"
	case now < l.slowUntil && chance(rng, 0.5):
		f.request = slow
	case now < l.slowUntil:
		f.reply = slow
	}
	return f
}

// call runs do on the server, and returns when the answer has arrived. An error means that there is no answer: the
// request may have taken effect, or may still do so. do is called with world.mu held; what it sets is valid only
// without an error.
func (l *link) call(ctx context.Context, id string, do func()) (err error) {
	return l.callFrom(ctx, l.lots[id], id, do)
}

func (l *link) callFrom(ctx context.Context, from *lot, id string, do func()) (err error) {
	w := l.world
	w.mu.Lock()
	f := l.draw(from)
	sent := w.now()
	refused := sent < l.refusesUntil
	w.mu.Unlock()

	patience := time.NewTimer((patienceLane + lane(f.lane)).from(sent+f.patience) - sent)
	defer patience.Stop()
	done := ctx.Done()
	if f.deaf {
		defer context.AfterFunc(ctx, func() { l.noteTrouble(id, ctx.Err()) })()
		done = nil
	}
	defer func() { l.noteTrouble(id, err) }()
	if w.Pool > 0 && from != l.fences {
		c := l.connect(&f, sent)
		defer l.disconnect(c)
		select {
		case <-c.granted:
			sent = w.now()
		case <-patience.C:
			return errTimeout
		case <-done:
			return ctx.Err()
		}
	}

	answer := make(chan error, 1)
	onWay := callLane + lane(f.lane)
	switch {
	case refused:
		w.at(onWay.from(sent+f.reply), func() { answer <- errRefused })
	case f.loses == "request" && f.reset:
		w.at(onWay.from(sent+f.request), func() { answer <- errReset })
	case f.loses == "request":
	default:
		w.at(onWay.from(sent+f.request), func() { l.arrive(&f, do, answer) })
	}

	select {
	case err = <-answer:
	case <-patience.C:
		err = errTimeout
	case <-done:
		err = ctx.Err()
	}
	return err
}

// arrive handles the request when it reaches the server.
func (l *link) arrive(f *fate, do func(), answer chan<- error) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	var err error
	switch {
	case w.server.down:
		err = errRefused
	default:
		do()
		if f.loses == "reply" || now < l.losesReplies {
			if !f.reset {
				return // no answer: the caller waits until it gives up
			}
			err = errReset
		}
	}
	l.reply(f, now+f.reply, func() { answer <- err })
}

// reply delivers an answer, but not before the replica can receive it.
func (l *link) reply(f *fate, at time.Duration, deliver func()) {
	w := l.world
	w.at((callLane + lane(f.lane)).from(at), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.now() < l.pausedUntil {
			l.reply(f, l.pausedUntil+f.wakeUp, deliver)
			return
		}
		deliver()
	})
}
