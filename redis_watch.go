package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Watch implements [Watcher] with one Pub/Sub connection, on a Cluster one to each master. It needs a client made by
// redis.NewClient, NewFailoverClient or NewClusterClient: others are errors.ErrUnsupported, as it is unknown what they
// do with a connection.
//
// Why one to each master, although a Cluster forwards messages between its nodes: it does so without acknowledgement. A
// link between two nodes that breaks for a moment loses messages, and nobody is told.
func (r *RedisStorage) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	if heartbeat <= 0 {
		panic(fmt.Sprintf("session: Watch: heartbeat %v: must be positive", heartbeat))
	}
	err := r.watch(ctx, heartbeat, fn)
	if errors.Is(err, errors.ErrUnsupported) {
		return failBecause("watch", errors.ErrUnsupported, err, "")
	}
	return r.failure(ctx, "watch", "", err)
}

// watch ends with the first thing that fails: its caller begins anew, with a Gap.
func (r *RedisStorage) watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	masters, err := r.masters(ctx)
	if err != nil {
		return err
	}
	w := &redisWatch{storage: r, heartbeat: heartbeat, fn: fn, proven: make([]time.Time, len(masters))}
	var running sync.WaitGroup
	run := func(f func(context.Context) error) { running.Go(func() { stop(f(ctx)) }) }
	for i, master := range masters {
		link := newLink(w, i, master)
		run(link.receive)
		run(link.beat)
	}
	if _, ok := r.client.(*redis.ClusterClient); ok {
		w.proven = append(w.proven, time.Time{})
		run(func(ctx context.Context) error { return w.followTopology(ctx, masters) })
	}
	<-ctx.Done()
	running.Wait()
	return context.Cause(ctx)
}

// redisWatch is one Watch call.
type redisWatch struct {
	storage   *RedisStorage
	heartbeat time.Duration

	mu     sync.Mutex // protects following fields, and makes the calls of fn one at a time
	fn     func(Event)
	proven []time.Time // by link, up to when it has delivered everything; the last one of a Cluster is its topology's
	alive  time.Time
}

// patience is how long a heartbeat may take before the link is given up. It is MaxStaleness when RoutingStorage asks.
func (w *redisWatch) patience() time.Duration { return 4 * w.heartbeat }

func (w *redisWatch) report(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fn(e)
}

// prove notes that a link has delivered everything up to an instant. All have, up to the earliest of these instants.
func (w *redisWatch) prove(link int, asOf time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proven[link] = asOf
	oldest := asOf
	for _, other := range w.proven {
		if other.Before(oldest) {
			oldest = other
		}
	}
	if oldest.After(w.alive) {
		w.alive = oldest
		w.fn(Alive{AsOf: oldest})
	}
}

// link is the subscription to one master, and the heartbeats through it.
type link struct {
	watch   *redisWatch
	index   int
	master  master
	channel string // for this link's own heartbeats
	ready   chan struct{}

	mu   sync.Mutex // protects following fields
	sent map[string]time.Time
}

func newLink(w *redisWatch, index int, m master) *link {
	return &link{
		watch: w, index: index, master: m,
		channel: w.storage.prefix + "!hb:" + rand.Text(),
		ready:   make(chan struct{}), sent: make(map[string]time.Time),
	}
}

// receive reports what arrives on the subscription, in the order of arrival: that order is what a heartbeat proves. It
// reads the connection itself, as a channel in between may drop messages.
func (l *link) receive(ctx context.Context) error {
	events := l.watch.storage.channel()
	subscription := l.master.client.Subscribe(ctx, events, l.channel)
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	defer func() { _ = subscription.Close() }()
	confirmed := 0
	for {
		message, err := subscription.ReceiveTimeout(ctx, l.watch.patience())
		if err != nil {
			return err
		}
		switch message := message.(type) {
		case *redis.Subscription:
			if confirmed++; confirmed == 2 {
				close(l.ready)
			}
			l.watch.report(Gap{}) // so it is when the client has connected again by itself
		case *redis.Message:
			if message.Channel == l.channel {
				l.arrived(message.Payload)
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
	if len(l.sent) > maxUnanswered {
		l.mu.Unlock()
		return errNoHeartbeat
	}
	// The time is read before it is sent. An event that was published before this heartbeat was acknowledged, but after
	// it was executed, follows it, and is not yet delivered when it arrives.
	l.sent[number] = time.Now()
	l.mu.Unlock()
	lifetime := ""
	if l.watch.storage.replicas.n > 0 {
		lifetime = strconv.FormatInt(max(1, l.watch.patience().Milliseconds()), 10)
	}
	client := l.watch.storage.replicas.on(l.master.client)
	_, err := runScript(ctx, client, heartbeatScript, l.master.key, l.channel, number, lifetime)
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

func (l *link) arrived(number string) {
	l.mu.Lock()
	at, ok := l.sent[number]
	// Those before it were lost, and prove nothing that this one does not.
	clear(l.sent)
	l.mu.Unlock()
	if ok {
		l.watch.prove(l.index, at)
	}
}

// maxUnanswered heartbeats, as many as the patience lasts, may be under way.
const maxUnanswered = 4

var errNoHeartbeat = errors.New("heartbeats are accepted, but do not arrive")
