package sim

import (
	"math/rand/v2"

	"github.com/seed34611480/session"
)

// A remote with shard channels is one node of a Redis Cluster, with the rule by which a write decides whether a shard
// channel is enough. Each session has two of them. The slots of channels move to other nodes and come back, so the node
// refuses them at times, and ends their subscriptions. Links join channels some time after they have begun; those that
// are plain never do, and plain writers know of no channels: an older version, or a user without the permission.
//
// Slots of sessions need not move here. The rule concerns the node on which a write is executed, whichever that is.

const shardChannels = 3

// channelsOf returns the shard channels that a writer tries for a session.
func channelsOf(id string) [2]int {
	first := int(id[len(id)-1]) % shardChannels
	return [2]int{first, (first + 1) % shardChannels}
}

// publish sends an event to all subscribers.
func (s *server) publish(id string, e session.Event) {
	if s.world.Shards && !chance(s.shards, s.world.Plain) {
		for _, channel := range channelsOf(id) {
			if n := s.shardPublish(channel, e); n > 0 {
				if n >= s.listeners() {
					s.world.history.Sharded++
					return
				}
				break
			}
		}
	}
	for sub := range s.subscriptions {
		if sub.listed {
			sub.send(e)
		}
	}
}

// shardPublish sends an event to those who have joined a channel, and returns how many these are.
func (s *server) shardPublish(channel int, e session.Event) (reached int) {
	if s.away[channel] {
		return 0 // an error, to a real server
	}
	for sub := range s.subscriptions {
		if sub.hears() && sub.joined[channel] {
			sub.send(e)
			reached++
		}
	}
	return reached
}

// listeners returns how many subscribe to the channel for events on this node.
func (s *server) listeners() (n int) {
	for sub := range s.subscriptions {
		if sub.hears() && sub.listed {
			n++
		}
	}
	return n
}

// hears reports whether a subscription is on the server that takes writes.
func (s *subscription) hears() bool { return !s.orphaned && !s.early && !s.reign.replica }

// join asks for the next channel that a subscription lacks. The answer comes with the next turn.
func (l *link) join(s *subscription) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.Shards || s.plain || w.now() < s.joinsAt || w.now() < l.pausedUntil {
		return
	}
	channel := l.shards.IntN(shardChannels)
	w.at((joinLane + lane(l.replica)).from(w.now()+skewed(l.shards, w.Delay)), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.open && s.hears() && !w.server.away[channel] {
			s.joined[channel] = true
		}
	})
}

const channelMoved = "slot of a shard channel moved"

// moveChannels moves the slot of a channel to another node, or back.
func (w *world) moveChannels(rng *rand.Rand) {
	if !w.Shards || !chance(rng, 0.2) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Faults[channelMoved]++
	channel := rng.IntN(shardChannels)
	w.server.away[channel] = !w.server.away[channel] && chance(rng, 0.5)
	for s := range w.server.subscriptions {
		s.joined[channel] = false
	}
}
