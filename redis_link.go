package session

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is the subscription to one master, and the heartbeats through it.
type link struct {
	watch   *redisWatch
	index   int
	master  master
	channel string // for this link's own heartbeats
	ready   chan struct{}

	mu   sync.Mutex // protects following fields
	sent []*heartbeat
}

// heartbeat is one that is under way. It proves something when it has arrived, and when the server it was sent to has
// said that it delivered it itself. Either may come first.
type heartbeat struct {
	number             string
	at                 time.Time
	arrived, delivered bool
}

var (
	errNotSubscribed = errors.New("the subscription is not confirmed")
	errNoHeartbeat   = errors.New("heartbeats are accepted, but do not arrive")
	errElsewhere     = errors.New("the subscription is on another server than the one that accepts writes")
)

func newLink(w *redisWatch, index int, m master) *link {
	return &link{
		watch: w, index: index, master: m,
		channel: w.storage.prefix + "!hb:" + rand.Text(), ready: make(chan struct{}),
	}
}

// receive reports what arrives on the subscription, in the order of arrival: that order is what a heartbeat proves. It
// reads the connection itself, as a channel in between may drop messages.
func (l *link) receive(ctx context.Context) error {
	events := l.watch.storage.events
	subscription := l.master.client.Subscribe(ctx, events, l.channel)
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	defer func() { _ = subscription.Close() }()
	begun := sync.OnceFunc(func() { close(l.ready) })
	for {
		message, err := subscription.ReceiveTimeout(ctx, l.watch.patience())
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *redis.Subscription:
			if message.Count == 2 { // both channels, on this connection: the client may have made a new one by itself
				l.watch.report(Gap{})
				begun()
			}
		case *redis.Message:
			if message.Channel == l.channel {
				l.note(message.Payload, func(h *heartbeat) { h.arrived = true })
			} else {
				l.watch.report(parseEvent(message.Payload))
			}
		}
	}
}

// beat sends heartbeats through the path that writes take, one after the other.
func (l *link) beat(ctx context.Context) error {
	select {
	case <-l.ready:
	case <-time.After(l.watch.patience()):
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
	ctx, cancel := context.WithTimeout(ctx, l.watch.patience())
	defer cancel()
	l.mu.Lock()
	if len(l.sent) >= unanswered {
		l.mu.Unlock()
		return errNoHeartbeat
	}
	// The time is read before it is sent. An event that was published before this heartbeat was acknowledged, but after
	// it was executed, follows it, and is not yet delivered when it arrives.
	l.sent = append(l.sent, &heartbeat{number: number, at: time.Now()})
	l.mu.Unlock()

	receivers, err := runScript(ctx, l.master.client, heartbeatScript, []string{l.master.key}, l.channel, number)
	if err != nil {
		return err
	}
	// A heartbeat may arrive through a server that was demoted: Redis passes messages on to replicas. That proves nothing,
	// as a replica that copies the whole data set misses the messages before. A server counts its own subscribers.
	if receivers == int64(0) {
		return errElsewhere
	}
	l.note(number, func(h *heartbeat) { h.delivered = true })
	return nil
}

// note marks a heartbeat, and reports what it proves when it has both marks. Those before it prove nothing more.
func (l *link) note(number string, mark func(*heartbeat)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.sent {
		if h.number != number {
			continue
		}
		mark(h)
		if h.arrived && h.delivered {
			l.sent = l.sent[i+1:]
			l.watch.prove(l.index, h.at)
		}
		return
	}
}
