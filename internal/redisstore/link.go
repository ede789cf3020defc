package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
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
	channel    string        // for this link's own heartbeats, and for fences
	shard      string        // the same as a shard channel, see join.go; "" for none
	confirmed  bool          // the subscription; for take
	subscribed chan struct{} // closed when it is
	agreed     chan struct{} // closed when the master has named the masters that are watched
	joins      joins

	subscription *redis.PubSub // set before subscribed is closed
	answers      chan answer   // to the markers of fences

	mu      sync.Mutex // protects following fields
	pending []*heartbeat
	heardAt time.Time // when something last arrived on the subscription
	history *string   // of the master, as it was told first; nil before
}

// heartbeat is one that was sent. It is a proof when it has arrived, and when the server that executed it has replied
// that it delivered it itself. Either may come first.
type heartbeat struct {
	number      string
	sentAt      time.Time
	arrived     bool
	deliveredAt time.Time // when the reply came; zero for not yet
}

// maxPending is how many heartbeats wait for their arrival. A subscription that lags further behind proves nothing of
// use.
const maxPending = 16 * maxUnanswered

var (
	errNotSubscribed = errs.SafeError("the subscription is not confirmed")
	// The client has replaced the connection by itself, with the same channels. Heartbeats that the master has counted for
	// the former one may reach the new one another way, through a replica.
	errReplaced    = errs.SafeError("the connection of the subscription was replaced")
	errNoHeartbeat = errs.SafeError("heartbeats are accepted, but do not arrive")
	errElsewhere   = errs.SafeError("the subscription is on another server than the one that accepts writes")
	errHistory     = errs.SafeError("the server has another replication id, as after it was a replica for a while")
)

func newLink(w *watch, index int, m master) *link {
	return &link{
		watch: w, index: index, master: m,
		channel: w.store.linkChannel(w.name, m.number), subscribed: make(chan struct{}), agreed: make(chan struct{}),
		answers: make(chan answer, maxAnswers), shard: w.store.linkShard(w.name, m.number),
		joins: joins{joined: make(map[string]bool)},
	}
}

// receive reports what arrives on the subscription, in the order of arrival: a heartbeat proves what came before it. It
// reads the connection itself, because go-redis' PubSub.Channel drops messages when its reader is slow.
func (l *link) receive(ctx context.Context) error {
	subscription := l.master.client.Subscribe(ctx, l.watch.events, l.channel)
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	defer func() { _ = subscription.Close() }()
	l.subscription = subscription
	for {
		// Without a time-out: that nothing arrives means nothing while heartbeats fail too. See link.send.
		message, err := subscription.Receive(ctx)
		if err != nil && l.refusal(err) {
			continue
		}
		if err != nil {
			return err
		}
		l.heard()
		if err := l.take(message); err != nil {
			return err
		}
	}
}

// take takes in what has arrived. One call runs at a time.
func (l *link) take(message any) error {
	switch message := message.(type) {
	case *redis.Subscription:
		return l.confirm(message)
	case *redis.Message:
		switch {
		case message.Channel != l.channel && message.Channel != l.shard:
			l.watch.event(message.Channel, message.Payload)
		case message.Payload > "9": // a letter
			l.fenced(message.Payload)
		default:
			l.mark(message.Payload, func(h *heartbeat) { h.arrived = true })
		}
	}
	return nil
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

// send sends a heartbeat. An error means that the subscription has ended, or may have: events can be missing. A
// heartbeat that fails only delays the proofs, so that a server that stalls for a while, or refuses writes, costs no
// more time than that.
func (l *link) send(ctx context.Context, number string) error {
	timed, cancel := context.WithTimeout(ctx, l.watch.timeout())
	defer cancel()
	d, err := l.exchange(timed, number)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && mayPass(err):
		l.watch.store.trouble.Store(&err)
		l.forget(number)
		return nil
	case err != nil:
		return err
	}
	if err := l.stays(d.history); err != nil {
		return err
	}
	if d.receivers == 0 {
		// A heartbeat can arrive through a server that was demoted: Redis passes messages on to replicas. That proves
		// nothing, because a replica that copies the whole data set misses the messages before. A server counts its own
		// subscribers.
		return errElsewhere
	}
	l.mark(number, func(h *heartbeat) { h.deliveredAt = time.Now() })
	return l.silent()
}

// stays returns an error if the history of the master is not the one that it had at first. A server that was demoted
// and promoted again keeps its subscriptions, and could prove what it has missed:
//
//  1. A heartbeat proves what this master has delivered.
//  2. It becomes a replica. A value is changed on another master. The replica takes that in with the whole data, and so
//     passes no event on.
//  3. It is promoted again. The next heartbeat finds a master that delivers it.
//
// Where INFO is refused, all histories are "".
func (l *link) stays(history string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.history == nil {
		l.history = &history
	}
	if *l.history != history {
		return errHistory
	}
	return nil
}

// delivery is what heartbeat.lua returns.
type delivery struct {
	receivers int64
	history   string
	registry  string // its identity; "" if it was not asked for
}

func parseDelivery(reply any) (d delivery, err error) {
	parts, _ := reply.([]any)
	if len(parts) < 2 {
		return delivery{}, errUnexpectedReply
	}
	var ok, told bool
	d.receivers, ok = parts[0].(int64)
	d.history, told = parts[1].(string)
	if !ok || !told {
		return delivery{}, errUnexpectedReply
	}
	if len(parts) > 2 {
		d.registry, _ = parts[2].(string)
	}
	return d, nil
}

// exchange executes a heartbeat.
func (l *link) exchange(ctx context.Context, number string) (d delivery, err error) {
	w := l.watch
	keys, args := []string{w.store.heartbeatKey(w.name, l.master.number)}, []any{l.channel, number}
	// The time is read before the heartbeat is sent. An event that is published before the heartbeat is acknowledged, but
	// after it is executed, follows it, and is not delivered yet when the heartbeat arrives.
	sentAt := time.Now()
	noted := w.fence != nil && realCluster(w.store.base) == nil
	switch {
	case noted:
		w.fence.Note()
		keys, args = append(keys, w.store.registry()), append(args, w.name, w.note(), rand.Text())
	case w.fence != nil:
		if sentAt, err = w.register(ctx); err != nil {
			return delivery{}, err
		}
	}
	if l.isJoined() {
		args = append(args, l.shard)
	}
	l.expect(&heartbeat{number: number, sentAt: sentAt})
	reply, err := runScript(ctx, l.master.control, heartbeatScript, keys, args...)
	if err != nil {
		return delivery{}, err
	}
	if d, err = parseDelivery(reply); err == nil && noted {
		w.fence.Told(d.registry)
	}
	return d, err
}

// mayPass reports whether a heartbeat failed for a reason that says nothing about the subscription. A master that has
// been demoted says READONLY or MOVED instead. Whatever needs an operator ends the watch, which then tells the reason.
func mayPass(err error) bool {
	_, answered := errors.AsType[redis.Error](err)
	return !answered || errors.Is(err, redis.Nil) || // of a sentinel, say: the server sends none
		hasCode(err, "NOREPLICAS", "LOADING", "BUSY", "OOM", "MISCONF", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")
}

func (l *link) expect(h *heartbeat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == maxPending {
		l.pending = l.pending[1:]
	}
	l.pending = append(l.pending, h)
}

// forget drops a heartbeat that failed. It may arrive all the same, and proves nothing then.
func (l *link) forget(number string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(h *heartbeat) bool { return h.number == number })
}

func (l *link) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heardAt = time.Now()
}

// silent returns errNoHeartbeat when a heartbeat should have arrived long ago, and nothing else has either. As long as
// something arrives, a slow subscription only delays the proofs.
func (l *link) silent() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.pending {
		limit := time.Now().Add(-l.watch.timeout())
		if !h.arrived && !h.deliveredAt.IsZero() && h.deliveredAt.Before(limit) && l.heardAt.Before(limit) {
			return errNoHeartbeat
		}
	}
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
		if h.arrived && !h.deliveredAt.IsZero() {
			l.pending = l.pending[i+1:]
			l.watch.prove(l.index, h.sentAt)
		}
		return
	}
}
