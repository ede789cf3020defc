package sim

import (
	"context"
	"errors"
	"time"

	"github.com/seed34611480/session"
)

// subscription is one connection on which events arrive, in order. Guarded by world.mu.
type subscription struct {
	link     *link
	fn       func(session.Event)
	open     bool // false: nothing arrives any more, and what was on its way is lost
	orphaned bool // connected to a deposed server: it answers, but receives no writes
	queue    []message
	broken   chan struct{} // closed when the replica notices that it is not open
}

type message struct {
	event session.Event
	due   time.Duration // not delivered before this instant, nor before earlier messages
}

func (s *subscription) send(e session.Event) {
	if !s.orphaned {
		s.transmit(e)
	}
}

func (s *subscription) transmit(e session.Event) {
	if !s.open {
		return
	}
	w := s.link.world
	s.queue = append(s.queue, message{e, w.now() + skewed(s.link.beats.rng, w.Delay)})
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
	e := s.queue[0].event
	w.mu.Unlock()

	s.fn(e)

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
	if !l.world.Watched {
		return errors.ErrUnsupported
	}
	for {
		err := l.watchOnce(ctx, heartbeat, fn)
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

func (l *link) watchOnce(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	w := l.world
	turn := watchLane + lane(l.replica)
	w.mu.Lock()
	connected := max(w.now(), l.pausedUntil) + upTo(l.beats.rng, w.Delay)
	w.mu.Unlock()
	if !w.sleep(ctx, turn.from(connected)) {
		return ctx.Err()
	}
	s, err := l.subscribe(fn)
	if err != nil {
		return err
	}
	defer l.unsubscribe(s)
	for {
		timer := time.NewTimer(turn.from(w.now()+heartbeat) - w.now())
		select {
		case <-timer.C:
			l.beat()
		case <-s.broken:
			timer.Stop()
			return errReset
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (l *link) subscribe(fn func(session.Event)) (*subscription, error) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server.down {
		return nil, errRefused
	}
	s := &subscription{link: l, fn: fn, open: true, broken: make(chan struct{})}
	l.subscription = s
	w.server.subscriptions[s] = struct{}{}
	s.send(session.Gap{})
	return s, nil
}

func (l *link) unsubscribe(s *subscription) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	s.open = false
	delete(l.world.server.subscriptions, s)
	l.subscription = nil
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
	f := l.draw(l.beats)
	if f.loses == "request" || now < l.refusesUntil {
		return
	}
	w.at((callLane + lane(f.lane)).from(now+f.request), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s := l.subscription; s != nil && !w.server.down {
			s.send(session.Alive{AsOf: asOf})
		}
	})
}
