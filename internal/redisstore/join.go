package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// joins are the shard channels of a link, see shard.go. The link is in the channel for events before it joins any, and
// leaves that one only with its connection: so those who are in a shard channel are always among those who are in it.
// When the client replaces the connection, it subscribes to that one first, and the watch ends.
type joins struct {
	mu     sync.Mutex // protects following fields
	asked  []string   // in order, as the replies come; an error does not tell its channel
	joined map[string]bool
	idle   int // turns to leave out: the server refuses shard channels
}

// joinAfter is how long after all masters agree a link joins channels, in units of S. A master that is new gets its
// first slot before all watches know it. Until they have a link to it, only the bus between the nodes carries its
// events to them. The first links must not keep the writers from using it:
//
//  1. Y gets its first slot. W does not hear of that yet.
//  2. A link to Y begins, and joins. It is the only one: all who watch Y have each event, and nothing goes to the bus.
//  3. Another watch asks W, which proves to it that there is no Y. A value is changed on Y.
//
// When W names Y, too, nothing proves that to any watch any more, and after S all leases from before have ended.
const joinAfter = 2

// maxIdle is for how many turns a link leaves the server in peace that has refused a shard channel: 2 minutes by
// default.
const maxIdle = 240

// join subscribes to the shard channels of the link's master. At each turn it asks for those that are missing: the
// master's slots may be others by now.
func (l *link) join(ctx context.Context) error {
	select {
	case <-l.subscribed:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.agree(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(joinAfter * l.watch.timeout()):
	case <-ctx.Done():
		return ctx.Err()
	}
	ticker := time.NewTicker(l.watch.heartbeat)
	defer ticker.Stop()
	for {
		for _, channel := range l.toJoin() {
			// One command each: these are in several slots.
			if err := l.subscription.SSubscribe(ctx, channel); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// agree waits until each master has named the masters that are watched. followTopology says what another answer, or
// none, means for the watch.
func (l *link) agree(ctx context.Context) error {
	ticker := time.NewTicker(l.watch.heartbeat)
	defer ticker.Stop()
	for {
		if known, _ := l.watch.isKnownTo(ctx, l.master.control); known {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(l.agreed)
	for _, other := range l.watch.links {
		select {
		case <-other.agreed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// toJoin returns the channels to ask for now. The first one is the link's own: where it is refused, so would be the
// others.
func (l *link) toJoin() (channels []string) {
	owned := l.watch.shardChannels(l)
	l.joins.mu.Lock()
	defer l.joins.mu.Unlock()
	switch {
	case len(l.joins.asked) > 0:
		return nil
	case l.joins.idle > 0:
		l.joins.idle--
		return nil
	case !l.joins.joined[l.shard]:
		channels = []string{l.shard}
	default:
		channels = slices.DeleteFunc(owned, func(c string) bool { return l.joins.joined[c] })
	}
	l.joins.asked = channels
	return channels
}

// shardChannels returns those that a link's master owns, by the latest answer of a node. That names the master by the
// slot of the link's heartbeats: its address there may differ from the client's.
func (w *watch) shardChannels(l *link) (channels []string) {
	w.mu.Lock()
	all := w.slots
	w.mu.Unlock()
	address := ownerOf(all, slotOf(w.store.heartbeatKey(w.name, l.master.number)))
	for group := range groups {
		if address != "" && ownerOf(all, group*groupSize) == address {
			channels = append(channels, shardChannel(w.events, group))
		}
	}
	return channels
}

// entered takes in that the server has joined the link to a channel.
func (l *link) entered(channel string) {
	l.joins.mu.Lock()
	defer l.joins.mu.Unlock()
	if len(l.joins.asked) > 0 {
		l.joins.asked = l.joins.asked[1:]
	}
	l.joins.joined[channel] = true
	l.watch.store.refused.Store(false)
}

// refusal reports whether an error of the server refuses a channel that the link asked for. Without the channel the
// link works as well.
func (l *link) refusal(err error) bool {
	l.joins.mu.Lock()
	defer l.joins.mu.Unlock()
	if len(l.joins.asked) == 0 || !answered(err) {
		return false
	}
	if !mayPass(err) && !hasCode(err, "MOVED") { // for want of the command, or of the permission
		l.joins.idle = maxIdle
		l.watch.store.refused.Store(true) // so writers need not try
	}
	l.joins.asked = l.joins.asked[1:]
	return true
}

// left takes in that the server has ended a subscription, because the slot of the channel has moved.
func (l *link) left(channel string) {
	l.joins.mu.Lock()
	defer l.joins.mu.Unlock()
	delete(l.joins.joined, channel)
}

// isJoined reports whether the link's own shard channel carries messages.
func (l *link) isJoined() bool {
	l.joins.mu.Lock()
	defer l.joins.mu.Unlock()
	return l.joins.joined[l.shard]
}

// linkShard returns the shard channel of one link, in the slot of its heartbeats; "" where there is none.
func (s *Store) linkShard(name, number string) string {
	if !s.shards {
		return ""
	}
	return s.linkChannel(name, number) + "{" + s.heartbeatKey(name, number) + "}"
}

// confirm takes in an answer to a subscription, or the end of one.
func (l *link) confirm(m *redis.Subscription) error {
	switch {
	case m.Kind == "ssubscribe":
		l.entered(m.Channel)
	case m.Kind == "sunsubscribe":
		l.left(m.Channel)
	case l.confirmed:
		return errReplaced
	case m.Count == 2: // both channels
		l.confirmed = true
		l.watch.gap(l.index)
		close(l.subscribed)
	}
	return nil
}
