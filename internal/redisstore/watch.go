package redisstore

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/fence"
)

// Sink takes in what [Store.Watch] reports, one call at a time. Its methods must not block.
type Sink interface {
	// Changed says that a value was written and has reached a revision.
	Changed(id string, revision uint64)

	// Removed says that a value was deleted or taken, whose last revision was this one; 0: not known, or there was none.
	Removed(id string, revision uint64)

	// Gap says that events flow from here on. Any number of earlier ones may be missing.
	Gap()

	// Alive says that every change that was acknowledged before asOf, and after the last Gap, has been reported. asOf has
	// a monotonic clock reading.
	Alive(asOf time.Time)
}

// maxUnanswered is how many heartbeats fit in the time that a single step may take.
const maxUnanswered = 4

// Watch reports every change, and for each heartbeat that it is complete. It ends with the context, or when an event
// may be missing, because a subscription has ended, or is not where the writes go: its caller starts anew, with a Gap.
// A heartbeat that fails for another reason, or is late, delays the next Alive.
//
// It has one Pub/Sub connection, on a Cluster one to each master. A Cluster forwards messages between its nodes, but
// without acknowledgement: a link between two nodes that breaks for a moment loses messages without a notice. See
// shard.go for how each event comes once all the same. Beside each connection it has one for heartbeats, see
// controlClient.
func (s *Store) Watch(ctx context.Context, heartbeat time.Duration, to Sink) error {
	return s.watch(ctx, heartbeat, to, nil)
}

// watch is Watch; for a holder unless that is nil.
func (s *Store) watch(ctx context.Context, heartbeat time.Duration, to Sink, holder *fence.Holder) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The name is another one each time, and so are the keys of heartbeats: while a slot moves, perhaps no master answers
	// for one of them. And messages for an earlier subscription do not arrive on this one.
	w := &watch{store: s, heartbeat: heartbeat, sink: to, name: rand.Text(), holder: holder}
	var running sync.WaitGroup
	run := func(f func(context.Context) error) { running.Go(func() { stop(f(ctx)) }) }
	var err error
	if w.events, err = s.eventsChannel(ctx); err != nil {
		return err
	}
	if naming := masterNaming(s.base); naming != nil {
		first, err := w.named(ctx, naming) // before anything is sent to the master
		if err != nil {
			return err
		}
		run(func(ctx context.Context) error { return w.followNaming(ctx, first, naming) })
	}
	masters, err := w.masters(ctx)
	if err != nil {
		stop(err)
		running.Wait()
		return err
	}
	w.proven = make([]time.Time, len(masters))
	for i := range masters {
		control := controlClient(masters[i].client)
		masters[i].control = control
		defer func() { _ = control.Close() }()
		defer context.AfterFunc(ctx, func() { _ = control.Close() })() // nothing is to be waited for then
	}
	if realCluster(s.base) != nil {
		w.proven = append(w.proven, time.Time{})
		run(func(ctx context.Context) error { return w.followTopology(ctx, masters) })
	}
	for i, master := range masters {
		w.links = append(w.links, newLink(w, i, master))
	}
	if holder != nil {
		w.fence = holder.Begin(fenceServer{w}, w.name, w.numbers())
		defer w.fence.End()
		run(w.tidy)
	}
	for _, link := range w.links {
		run(link.receive)
		run(link.sendHeartbeats)
		if s.shards {
			run(link.join)
		}
		if holder != nil {
			run(link.sendAnswers)
		}
	}
	<-ctx.Done()
	running.Wait()
	return context.Cause(ctx)
}

// WhyLate returns why a heartbeat of a watch has failed since one has come back; nil if none has.
func (s *Store) WhyLate() error {
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// watch is one call of [Store.Watch].
type watch struct {
	store     *Store
	heartbeat time.Duration
	events    string // the channel for events
	name      string // random
	links     []*link

	holder *fence.Holder // nil for none, as is fence
	fence  *fence.Watch

	registering  sync.Mutex // makes the calls of register one at a time
	registeredAt time.Time

	mu     sync.Mutex // protects following fields, and makes the calls of the sink one at a time
	sink   Sink
	proven []time.Time         // by link, up to when it has delivered everything; a Cluster's last one is its topology's
	alive  time.Time           // the last one reported
	known  []string            // the masters, as the first answer about them has named them
	slots  []redis.ClusterSlot // the latest answer about them
	notes  int                 // in the registry so far
}

// timeout bounds each single step of a watch.
func (w *watch) timeout() time.Duration { return maxUnanswered * w.heartbeat }

// gap notes that events flow from here on. A link that begins, or begins anew, has to prove everything anew.
func (w *watch) gap(link int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proven[link] = time.Time{}
	w.reports().Gap()
}

// reports is the sink. Fences are told of each Gap and proof, after the sink has taken it in.
func (w *watch) reports() Sink {
	if w.fence == nil {
		return w.sink
	}
	return fencedSink{w.sink, w.fence}
}

type fencedSink struct {
	Sink
	fence *fence.Watch
}

// Gap implements [Sink].
func (s fencedSink) Gap() {
	s.Sink.Gap()
	s.fence.Gap()
}

// Alive implements [Sink].
func (s fencedSink) Alive(asOf time.Time) {
	s.Sink.Alive(asOf)
	s.fence.Proven()
}

func (w *watch) event(channel, payload string) {
	if w.store.shards && channel == w.events {
		w.store.broadcasts.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	reportEvent(payload, w.store.names, w.reports())
}

// prove notes that a link has delivered everything up to asOf. All links have, up to the earliest of these instants.
func (w *watch) prove(link int, asOf time.Time) {
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
		w.store.trouble.Store(nil)
		w.alive = oldest
		w.reports().Alive(oldest)
	}
}

// The payload of an event is a letter, a revision in 16 hex digits, and what stands for the id. The revision of a
// removal is the one that is gone, or 0.
const (
	changedEvent = 'C'
	removedEvent = 'R'
)

// reportEvent never fails: a payload that it cannot read may be any change, and a Gap says so.
func reportEvent(payload string, names Names, to Sink) {
	if len(payload) <= 1+revisionLength {
		to.Gap()
		return
	}
	digits := payload[1 : 1+revisionLength]
	id, ok := names.ParseEvent(payload[1+revisionLength:])
	if !ok {
		to.Gap()
		return
	}
	revision, ok := parseRevision(digits)
	switch kind := payload[0]; {
	case kind == changedEvent && ok:
		to.Changed(id, revision)
	case kind == removedEvent && ok:
		to.Removed(id, revision)
	case kind == removedEvent && digits == noRevision:
		to.Removed(id, 0)
	default:
		to.Gap()
	}
}
