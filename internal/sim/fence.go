package sim

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/fence"
)

// onlyLink is the number of a holder's link: the simulated remote is one server.
const onlyLink = "0"

// marker is the marker of a fence, and who sent it.
type marker struct {
	id   string
	from *link
	name string // the holder that asks
}

// registry is the remote's list of holders. It may be lost; the next one has another identity.
type registry struct {
	identity int // 0: there is none
	made     int // registries so far
	notes    map[string]string
}

// note registers the sender of a heartbeat, and tells it the registry's identity. Guarded by world.mu.
func (l *link) note(s *subscription, f fate) {
	if s == nil || s.watch == nil {
		return
	}
	w := l.world
	r := &w.server.registry
	if r.identity == 0 {
		r.made++
		r.identity, r.notes = r.made, make(map[string]string)
	}
	r.notes[s.name] = strconv.Itoa(s.beats)
	if f.loses != "" || w.now() < l.losesReplies {
		return
	}
	identity := strconv.Itoa(r.identity)
	l.reply(&f, w.now()+f.reply, func() { s.watch.Told(identity) })
}

// holder makes a replica one of those that fences wait for.
type holder struct {
	link  *link
	fence *fence.Holder
}

// Hold implements [session.Fencer].
func (l *link) Hold(maxStaleness time.Duration) session.LeaseHolder {
	h := &holder{l, fence.New(maxStaleness)}
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	l.holders = append(l.holders, h.fence)
	return h
}

// Watch implements [session.LeaseHolder], like the methods that follow.
func (h *holder) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	return h.link.watch(ctx, heartbeat, fn, h.fence)
}

func (h *holder) Fence(ctx context.Context) error { return h.fence.Fence(ctx) }

func (h *holder) Leave(ctx context.Context) error {
	h.fence.Wait()
	notes := make(map[string]string)
	for _, name := range h.fence.Names() {
		notes[name] = ""
	}
	return (&fenceServer{h.link, nil}).Forget(ctx, notes)
}

// tidy does what a watch does once per heartbeat besides.
func (l *link) tidy(ctx context.Context, s *subscription, heartbeat time.Duration) {
	turn := tidyLane + lane(l.replica)
	for l.world.sleep(ctx, turn.from(l.world.now()+heartbeat)) {
		s.watch.Beat(ctx)
	}
}

// fenceServer carries the questions of a fence.
type fenceServer struct {
	link *link
	own  *subscription
}

func (f *fenceServer) call(ctx context.Context, do func()) error {
	return f.link.callFrom(ctx, f.link.fences, "", do)
}

// look returns the registry as it is. Called with world.mu held.
func (f *fenceServer) look() fence.Look {
	r := &f.link.world.server.registry
	look := fence.Look{Holders: make(map[string]fence.Entry)}
	if r.identity != 0 {
		look.Registry = strconv.Itoa(r.identity)
	}
	for name, note := range r.notes {
		look.Holders[name] = fence.Entry{Note: note, Lease: f.link.world.Staleness}
	}
	return look
}

// Look implements [fence.Server], like the methods that follow.
func (f *fenceServer) Look(ctx context.Context) (fence.Look, error) {
	var look fence.Look // a late request may still write it after an error
	if err := f.call(ctx, func() { look = f.look() }); err != nil {
		return fence.Look{}, err
	}
	return look, nil
}

func (f *fenceServer) Forget(ctx context.Context, notes map[string]string) error {
	return f.call(ctx, func() {
		r := &f.link.world.server.registry
		for name, note := range notes {
			if note == "" || r.notes[name] == note {
				delete(r.notes, name)
			}
		}
	})
}

func (f *fenceServer) SameMasters(context.Context) (bool, error) { return true, nil }

// Mark sends the marker to the subscribers of the master. A server that was the master passes it on to its own, or not:
// that is not counted.
func (f *fenceServer) Mark(ctx context.Context, id string) (fence.Marked, error) {
	l := f.link
	w := l.world
	var marked fence.Marked
	stays := true
	err := f.call(ctx, func() {
		stays = f.own.stays()
		marked.Look = f.look()
		names := maps.Keys(marked.Holders)
		for _, name := range slices.Compact(slices.Sorted(func(yield func(string) bool) {
			names(yield)
			yield(f.own.name)
		})) {
			to := fence.Link{Holder: name, Number: onlyLink}
			s := w.server.subscriptionOf(name)
			m := message{fence: marker{id, l, f.own.name}}
			switch {
			case s == nil || !s.open:
				marked.Silent = append(marked.Silent, to)
			case s.orphaned || s.early || s.reign.replica:
				marked.Silent = append(marked.Silent, to)
				if chance(l.fences.rng, 0.5) {
					s.enqueue(m)
				}
			default:
				marked.Sent = append(marked.Sent, to)
				s.enqueue(m)
			}
		}
	})
	switch {
	case err != nil:
		return fence.Marked{}, err
	case !stays:
		return fence.Marked{}, errReset
	}
	return marked, nil
}

// subscriptionOf returns a holder's subscription, or nil.
func (s *server) subscriptionOf(name string) *subscription {
	for sub := range s.subscriptions {
		if sub.name == name {
			return sub
		}
	}
	return nil
}

// marked takes in a marker: everything that came before it has been applied.
func (l *link) marked(s *subscription, m marker) {
	if m.name == s.name {
		s.watch.Marked(m.id, onlyLink)
		return
	}
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	f := l.draw(l.fences)
	if f.loses != "" || w.now() < l.refusesUntil || w.now() < l.losesReplies {
		return
	}
	at := (callLane + lane(f.lane)).from(w.now() + f.request + f.reply)
	w.at(at, func() {
		w.mu.Lock()
		holders := slices.Clone(m.from.holders)
		w.mu.Unlock()
		for _, h := range holders {
			h.Answered(m.id, fence.Link{Holder: s.name, Number: onlyLink})
		}
	})
}

// loseRegistry forgets all holders, as an eviction does.
func (w *world) loseRegistry() { w.server.registry.identity, w.server.registry.notes = 0, nil }

// failOver makes another server the master. It has all that was written, but perhaps not the last notes of holders.
// Subscriptions stay where they are, and hear nothing more.
func (w *world) failOver(rng *rand.Rand) {
	for _, r := range w.replicas {
		if s := r.link.subscription; s != nil && s.open {
			s.orphan(faultLane.from(w.now() + upTo(rng, 2*w.Staleness)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.server.registry.notes)) {
		if chance(rng, 0.5) {
			delete(w.server.registry.notes, name)
		}
	}
}

// failFences causes the faults that matter to fences only.
func (w *world) failFences(rng *rand.Rand) {
	if !w.Fencing || w.Calm {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch rng.IntN(5) {
	case 0:
		w.history.Faults[registryLost]++
		w.loseRegistry()
	case 1:
		w.history.Faults[failedOver]++
		w.history.disturbed(0, failedOver, w.now(), w.now()+2*w.Staleness)
		w.failOver(rng)
	}
}
