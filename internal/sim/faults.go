package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// fault is something that goes wrong with a replica, its links or the server, for a while. It is called with world.mu
// held.
type fault struct {
	name string
	do   func(w *world, l *link, until time.Duration)
}

var faults = []fault{
	{"commands refused", func(_ *world, l *link, until time.Duration) { l.refusesUntil = until }},
	{"requests lost", func(_ *world, l *link, until time.Duration) { l.losesRequests = until }},
	{"replies lost", func(_ *world, l *link, until time.Duration) { l.losesReplies = until }},
	{"commands slow", func(_ *world, l *link, until time.Duration) { l.slowUntil = until }},
	{"loads refused", func(_ *world, l *link, until time.Duration) { l.noReadsUntil = until }},
	{"events slow", func(_ *world, l *link, until time.Duration) { l.eventsSlowUntil = until }},
	{"events stalled", func(_ *world, l *link, until time.Duration) { l.eventsStallUntil = until }},
	{"replica cut off", func(w *world, l *link, until time.Duration) {
		l.losesRequests = until
		l.cut(until - w.now())
	}},
	{"commands slow, events lost", func(w *world, l *link, until time.Duration) {
		l.slowUntil = until
		l.cut(until - w.now())
	}},
	{"events lost", func(_ *world, l *link, _ time.Duration) { l.cut(1) }},
	{"events link half open", func(w *world, l *link, until time.Duration) { l.cut(until - w.now()) }},
	{"events from a deposed server", func(_ *world, l *link, until time.Duration) {
		s := l.subscription
		if s == nil || !s.open {
			return
		}
		s.orphan(until)
	}},
	{"replica paused", func(_ *world, l *link, until time.Duration) { l.pausedUntil = until }},
	{"remote restarted", func(w *world, _ *link, until time.Duration) { w.restartServer(until, false) }},
	{"remote restarted without data", func(w *world, _ *link, until time.Duration) {
		w.restartServer(until, true)
	}},
}

// These have ways of their own to happen.
const (
	sessionsDead     = "some sessions unavailable"
	registryLost     = "registry of holders lost"
	failedOver       = "remote failed over"
	sessionEvicted   = "session evicted"
	replicaRestarted = "replica restarted"
)

func (l *link) cut(noticed time.Duration) {
	if l.subscription != nil {
		l.subscription.cut(noticed)
	}
}

func (w *world) restartServer(until time.Duration, empty bool) {
	if w.server.down {
		return
	}
	w.server.down = true
	for _, r := range w.replicas {
		r.link.cut(1)
	}
	if empty {
		w.server.loseAll()
	}
	w.at(faultLane.from(until), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.server.down = false
	})
}

// evict removes a session without an event, as a server does that runs out of memory.
func (w *world) evict(id string) {
	w.history.Faults[sessionEvicted]++
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server.get(id) != nil {
		w.server.erase(id, w.now(), evicted)
	}
}

// misfortune causes faults until the context ends. Several overlap on purpose: the worst cases are combinations, such
// as a slow answer and the loss of the event that would correct it. A simulation uses a few kinds of fault or all of
// them: with few kinds, the same ones meet more often.
func (w *world) misfortune(ctx context.Context) {
	rng, deaths := stream(w.Seed, faultStream), stream(w.Seed, deathStream)
	fences, failbacks := stream(w.Seed, fenceFaultStream), stream(w.Seed, failbackStream)
	channels := stream(w.Seed, shardFaultStream)
	often := pick(failbacks, 0, 0, 0.2, 0.8)
	kinds := rng.Perm(len(faults) + 2)
	if chance(rng, 0.7) {
		kinds = kinds[:1+rng.IntN(4)]
	}
	for w.sleep(ctx, faultLane.from(w.now()+upTo(rng, 2*w.FaultEvery))) {
		r := w.replicas[rng.IntN(w.Replicas)]
		w.killSessions(deaths)
		w.failFences(fences)
		w.failBacks(failbacks, often)
		w.moveChannels(channels)
		if w.Calm {
			w.evict(nameOf(rng.IntN(w.IDs)))
			continue
		}
		for range 1 + rng.IntN(3) {
			w.strike(rng, pick(rng, kinds...), r)
		}
	}
}

// killSessions makes the remote refuse to answer about the first sessions for a while, as if a part of it were away.
// That happens in calm simulations, too: the other sessions must not suffer.
func (w *world) killSessions(rng *rand.Rand) {
	if w.Dead == 0 || !chance(rng, 0.5) {
		return
	}
	w.history.Faults[sessionsDead]++
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server.deadUntil = w.now() + upTo(rng, 6*w.Staleness)
}

func (w *world) strike(rng *rand.Rand, kind int, r *replica) {
	switch kind {
	case len(faults):
		w.evict(nameOf(rng.IntN(w.IDs)))
	case len(faults) + 1:
		w.history.Faults[replicaRestarted]++
		w.mu.Lock()
		w.history.disturbed(r.link.replica, replicaRestarted, w.now(), w.now()+w.Delay)
		w.mu.Unlock()
		r.restart()
	default:
		w.history.Faults[faults[kind].name]++
		w.mu.Lock()
		defer w.mu.Unlock()
		until := faultLane.from(w.now() + pick(rng, skewed(rng, 3*w.Staleness), upTo(rng, 4*w.Staleness)))
		w.history.disturbed(r.link.replica, faults[kind].name, w.now(), until)
		faults[kind].do(w, r.link, until)
	}
}
