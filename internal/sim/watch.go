package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/fence"
)

// subscription is one connection on which events arrive, in order. Guarded by world.mu.
type subscription struct {
	link     *link
	fn       func(session.Event)
	name     string       // of the holder
	watch    *fence.Watch // nil for none
	beats    int          // heartbeats that were sent
	open     bool         // false: nothing arrives any more, and what was on its way is lost
	orphaned bool         // connected to a deposed server: it answers, but receives no writes
	early    bool         // connected to a server that is not the master yet
	reign    reign        // of the server that it is connected to
	queue    []message
	listed   bool                // subscribed to the channel for events
	joined   [shardChannels]bool // shard channels, besides
	joinsAt  time.Duration       // when it begins to join them
	plain    bool                // it never joins any
	broken   chan struct{}       // closed when the replica notices that it is not open
}

type message struct {
	event session.Event
	fence marker        // instead of an event, if it has an id
	due   time.Duration // not delivered before this instant, nor before earlier messages
}

func (s *subscription) send(e session.Event) {
	if s.hears() {
		s.transmit(e)
	}
}

// orphan leaves a subscription on a server that is not the master any more, until the connection breaks.
func (s *subscription) orphan(until time.Duration) {
	w := s.link.world
	s.orphaned = true
	w.at(faultLane.from(until), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.cut(1)
	})
}

func (s *subscription) transmit(e session.Event) { s.enqueue(message{event: e}) }

func (s *subscription) enqueue(m message) {
	if !s.open {
		return
	}
	w := s.link.world
	m.due = w.now() + skewed(s.link.beats.rng, w.Delay)
	s.queue = append(s.queue, m)
	if len(s.queue) == 1 {
		s.arm(s.queue[0].due)
	}
}

func (s *subscription) arm(at time.Duration) {
	w := s.link.world
	w.at((deliveryLane + lane(s.link.replica)).from(max(at, w.now()+1)), s.deliver)
}

// deliver delivers the oldest message.
func (s *subscription) deliver() {
	w := s.link.world
	w.mu.Lock()
	if !s.open {
		w.mu.Unlock()
		return
	}
	if held := max(s.link.eventsStallUntil, s.link.pausedUntil); w.now() < held {
		s.arm(held + skewed(s.link.beats.rng, w.Delay))
		w.mu.Unlock()
		return
	}
	m := s.queue[0]
	w.mu.Unlock()

	s.take(m)

	w.mu.Lock()
	defer w.mu.Unlock()
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		return
	}
	next := s.queue[0].due
	if w.now() < s.link.eventsSlowUntil {
		next = max(next, w.now()+upTo(s.link.beats.rng, w.Staleness))
	}
	s.arm(next)
}

// take hands a message to the replica.
func (s *subscription) take(m message) {
	if m.fence.id != "" {
		s.link.marked(s, m.fence)
		return
	}
	s.fn(m.event)
	if s.watch == nil {
		return
	}
	switch m.event.(type) {
	case session.Gap:
		s.watch.Gap()
	case session.Alive:
		s.watch.Proven()
	}
}

// cut ends the connection. The replica notices after the given time; until then the connection looks idle.
func (s *subscription) cut(noticed time.Duration) {
	if !s.open {
		return
	}
	s.open = false
	w := s.link.world
	delete(w.server.subscriptions, s)
	w.at((watchLane + lane(s.link.replica)).from(w.now()+noticed), func() { close(s.broken) })
}

// Watch implements [session.Watcher]. When a connection breaks, it either reconnects or fails.
func (l *link) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	return l.watch(ctx, heartbeat, fn, nil)
}

func (l *link) watch(
	ctx context.Context, heartbeat time.Duration, fn func(session.Event), holder *fence.Holder,
) error {
	if !l.world.Watched {
		return errors.ErrUnsupported
	}
	for {
		err := l.watchOnce(ctx, heartbeat, fn, holder)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.world.mu.Lock()
		fails := chance(l.beats.rng, 0.3)
		l.world.mu.Unlock()
		if fails {
			return err
		}
	}
}

func (l *link) watchOnce(
	ctx context.Context, heartbeat time.Duration, fn func(session.Event), holder *fence.Holder,
) error {
	w := l.world
	turn := watchLane + lane(l.replica)
	w.mu.Lock()
	connected := max(w.now(), l.pausedUntil) + upTo(l.beats.rng, w.Delay)
	w.mu.Unlock()
	if !w.sleep(ctx, turn.from(connected)) {
		return ctx.Err()
	}
	s, err := l.subscribe(fn, holder)
	if err != nil {
		return err
	}
	defer l.unsubscribe(s)
	if s.watch != nil {
		tidying, stop := context.WithCancel(ctx)
		defer stop()
		w.background.Go(func() { l.tidy(tidying, s, heartbeat) })
	}
	for {
		timer := time.NewTimer(turn.from(w.now()+heartbeat) - w.now())
		select {
		case <-timer.C:
			l.beat()
			l.join(s)
		case <-s.broken:
			timer.Stop()
			return errReset
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (l *link) subscribe(fn func(session.Event), holder *fence.Holder) (*subscription, error) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server.down {
		return nil, errRefused
	}
	s := &subscription{link: l, fn: fn, open: true, broken: make(chan struct{})}
	l.subscription = s
	w.server.subscriptions[s] = struct{}{}
	if holder != nil {
		l.watches++
		s.name = fmt.Sprint("holder ", l.replica, ".", l.watches)
		s.watch = holder.Begin(&fenceServer{l, s}, s.name, []string{onlyLink})
	}
	s.joinsAt, s.plain = w.now()+upTo(l.shards, w.Staleness), chance(l.shards, w.Plain)
	confirmed := func() {
		s.listed = true
		s.send(session.Gap{})
	}
	confirmed()
	if w.Early && chance(l.early, 0.5) {
		s.early = true
		w.at(faultLane.from(w.now()+upTo(l.early, 2*w.Staleness)), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			s.early = false // it is the master now, with all that was written meanwhile
		})
	}
	return s, nil
}

func (l *link) unsubscribe(s *subscription) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	s.open = false
	delete(l.world.server.subscriptions, s)
	l.subscription = nil
	if s.watch != nil {
		s.watch.End()
	}
}

// beat sends a heartbeat through the command link. The server returns it on the subscription, behind everything that it
// has sent there before.
func (l *link) beat() {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now < l.pausedUntil {
		return
	}
	asOf := time.Now()
	s := l.subscription
	if s != nil && s.watch != nil {
		s.watch.Note()
		s.beats++
	}
	f := l.draw(l.beats)
	if f.loses == "request" || now < l.refusesUntil {
		return
	}
	w.at((callLane + lane(f.lane)).from(now+f.request), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.server.down {
			return
		}
		if s != nil && s == l.subscription && !s.proves() {
			return
		}
		l.note(s, f)
		if s != nil && s == l.subscription {
			s.send(session.Alive{AsOf: asOf})
		}
	})
}
