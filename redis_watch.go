package session

import (
	"context"
	"errors"
	"fmt"
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
	masters, err := r.masters(ctx, unanswered*heartbeat)
	if err != nil {
		return err
	}
	w := &redisWatch{storage: r, heartbeat: heartbeat, fn: fn}
	var running sync.WaitGroup
	run := func(f func(context.Context) error) { running.Go(func() { stop(f(ctx)) }) }
	if _, ok := r.client.(*redis.ClusterClient); ok {
		w.proven = make([]time.Time, len(masters)+1)
		run(func(ctx context.Context) error { return w.followTopology(ctx, masters) })
	} else {
		w.proven = make([]time.Time, len(masters))
	}
	for i, master := range masters {
		link := newLink(w, i, master)
		run(link.receive)
		run(link.beat)
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

// patience is how long anything may take before the watch is given up. It is MaxStaleness when RoutingStorage asks.
func (w *redisWatch) patience() time.Duration { return unanswered * w.heartbeat }

// unanswered heartbeats may be under way, no more.
const unanswered = 4

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
