package redisstore

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// link is the subscription to one master, and the heartbeats through it.
type link struct {
	watch      *watch
	index      int
	master     master
	channel    string        // for this link's own heartbeats
	subscribed chan struct{} // closed when the server has confirmed the subscription

	mu      sync.Mutex // protects following fields
	pending []*heartbeat
}

// heartbeat is one that was sent. It is a proof when it has arrived, and when the server that executed it has replied
// that it delivered it itself. Either may come first.
type heartbeat struct {
	number             string
	sentAt             time.Time
	arrived, delivered bool
}

var (
	errNotSubscribed = errs.SafeError("the subscription is not confirmed")
	errNoHeartbeat   = errs.SafeError("heartbeats are accepted, but do not arrive")
	errElsewhere     = errs.SafeError("the subscription is on another server than the one that accepts writes")
)

func newLink(w *watch, index int, m master) *link {
	return &link{
		watch: w, index: index, master: m,
		channel: w.store.prefix + "!hb:" + rand.Text(), subscribed: make(chan struct{}),
	}
}

// receive reports what arrives on the subscription, in the order of arrival: a heartbeat proves what came before it. It
// reads the connection itself, because go-redis' PubSub.Channel drops messages when its reader is slow.
func (l *link) receive(ctx context.Context) error {
	subscription := l.master.client.Subscribe(ctx, l.watch.store.events, l.channel)
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	defer func() { _ = subscription.Close() }()
	confirm := sync.OnceFunc(func() { close(l.subscribed) })
	for {
		message, err := subscription.ReceiveTimeout(ctx, l.watch.timeout())
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *redis.Subscription:
			// Both channels, on this connection. It comes again when the client has replaced the connection by itself.
			if message.Count == 2 {
				l.watch.gap()
				confirm()
			}
		case *redis.Message:
			if message.Channel == l.channel {
				l.mark(message.Payload, func(h *heartbeat) { h.arrived = true })
			} else {
				l.watch.event(message.Payload)
			}
		}
	}
}

// sendHeartbeats sends them the way that writes go, one after the other.
func (l *link) sendHeartbeats(ctx context.Context) error {
	select {
	case <-l.subscribed:
	case <-time.After(l.watch.timeout()):
		return errNotSubscribed
	case <-ctx.Done():
		return ctx.Err()
	}
	ticker := time.NewTicker(l.watch.heartbeat)
	defer ticker.Stop()
	for number := 0; ; number++ {
		if err := l.send(ctx, strconv.Itoa(number)); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) send(ctx context.Context, number string) error {
	ctx, cancel := context.WithTimeout(ctx, l.watch.timeout())
	defer cancel()
	l.mu.Lock()
	if len(l.pending) >= maxUnanswered {
		l.mu.Unlock()
		return errNoHeartbeat
	}
	// The time is read before the heartbeat is sent. An event that is published before the heartbeat is acknowledged, but
	// after it is executed, follows it, and is not delivered yet when the heartbeat arrives.
	l.pending = append(l.pending, &heartbeat{number: number, sentAt: time.Now()})
	l.mu.Unlock()

	receivers, err := runScript(ctx, l.master.client, heartbeatScript, []string{l.master.key}, l.channel, number)
	if err != nil {
		return err
	}
	// A heartbeat can arrive through a server that was demoted: Redis passes messages on to replicas. That proves nothing,
	// because a replica that copies the whole data set misses the messages before. A server counts its own subscribers.
	if receivers == int64(0) {
		return errElsewhere
	}
	l.mark(number, func(h *heartbeat) { h.delivered = true })
	return nil
}

// mark changes a pending heartbeat, and reports the proof when it has arrived and was delivered. Older ones are dropped
// then: they prove nothing more.
func (l *link) mark(number string, change func(*heartbeat)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.pending {
		if h.number != number {
			continue
		}
		change(h)
		if h.arrived && h.delivered {
			l.pending = l.pending[i+1:]
			l.watch.prove(l.index, h.sentAt)
		}
		return
	}
}
