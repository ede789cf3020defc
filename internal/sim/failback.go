package sim

import "math/rand/v2"

const failedBack = "remote failed over, and back"

// failbackStream draws when that happens.
const failbackStream = 11

// reign is what a subscription's server has been since the subscription was made.
type reign struct {
	replica    bool // it takes no writes now, and passes none on
	promotions int
	told       bool // the server has said at which promotion it is
	since      int  // which one that was
}

// stays reports whether the server of a subscription has been the master since it first said so, as its replication id
// tells. Called with world.mu held.
func (s *subscription) stays() bool {
	r := &s.reign
	if !r.told {
		r.told, r.since = true, r.promotions
	}
	return r.since == r.promotions
}

// proves reports whether a heartbeat that has reached a subscription's server may come back. If not, the watch ends.
// Called with world.mu held.
func (s *subscription) proves() bool {
	if s.reign.replica || !s.stays() {
		s.cut(1)
		return false
	}
	return true
}

// failBacks makes another server the master for a while, often for less than a heartbeat. The former one takes in with
// the whole data what was changed meanwhile, and keeps its subscriptions. Those that were made meanwhile stay on the
// other server.
func (w *world) failBacks(rng *rand.Rand, share float64) {
	if !w.Watched || w.Calm || !chance(rng, share) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server.failingBack {
		return
	}
	w.server.failingBack = true
	back := faultLane.from(w.now() + upTo(rng, pick(rng, w.Staleness/8, w.Staleness/4, w.Staleness)))
	gone := back + w.Staleness
	w.history.Faults[failedBack]++
	w.history.disturbed(0, failedBack, w.now(), gone)
	for s := range w.server.subscriptions {
		s.reign.replica = true
	}
	w.at(back, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.server.failingBack = false
		for s := range w.server.subscriptions {
			if s.reign.replica {
				s.reign.replica = false
				s.reign.promotions++
			} else {
				s.orphan(gone)
			}
		}
	})
}
