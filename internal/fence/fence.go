package fence

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// Server carries the questions of a fence to the servers that have the registry and deliver the markers.
type Server interface {
	// Mark reads the registry, and then sends the marker of a fence to each link of each holder in it, and to those of
	// the caller in any case. An error means that markers may be missing.
	Mark(ctx context.Context, fence string) (Marked, error)

	// SameMasters asks whether the masters are those of the caller's watch.
	SameMasters(ctx context.Context) (bool, error)

	// Look reads the registry.
	Look(ctx context.Context) (Look, error)

	// Forget removes the holders from the registry whose notes are still these, comparing and removing in one step. An
	// empty note stands for any.
	Forget(ctx context.Context, notes map[string]string) error
}

// Look is what the registry said.
type Look struct {
	Registry string           // its identity; "" if there is none
	Holders  map[string]Entry // by name
}

// Entry is a holder in the registry.
type Entry struct {
	Note  string        // another one with each of its heartbeats
	Lease time.Duration // its S
}

// Marked is a look, and what became of the markers.
type Marked struct {
	Look
	Sent   []Link // delivered by the very server that each was sent to
	Silent []Link // not delivered there
}

// A fence that has not returned sends markers again after this part of S: an answer may be lost, or a holder has left.
const lookShare = 8

// Margin is how much later than S after its call a fence returns: the clocks of two machines may differ in their rates
// by 500 ppm each.
func Margin(lease time.Duration) time.Duration { return max(time.Millisecond, lease/500) }

// pending is a fence that has not returned. Guarded by Holder.mu, but for wake.
type pending struct {
	wake     chan struct{} // holds one element when something has changed
	attempts []*attempt
}

// attempt is one round of markers, with an id of its own. A holder that has left since the last one is not in the
// registry any more. Each attempt stands for itself, because the registry alone does not tell that a holder has left:
//  1. The markers were sent. One holder does not answer, all others have.
//  2. The server fails over. The new master knows the registry, but not the last notes.
//  3. A look finds that the holder is not there. Its lease may run.
//
// In an attempt of its own, the caller's marker does not arrive in step 3. Guarded by Holder.mu.
type attempt struct {
	fence    *pending
	watch    *Watch
	answered map[Link]bool
	own      map[Link]uint64 // the epochs in which the caller's own markers arrived
	expected map[Link]bool   // who has to answer; false: cannot, as the marker was not delivered; nil: not known yet
	registry string
	lease    time.Duration // the longest that there is
}

// Fence returns nil when every change that was acknowledged before it was called is seen by every load that starts
// afterwards, through any holder; S and a margin after it was called at the latest. The only error is the end of ctx.
func (h *Holder) Fence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	called := time.Now()
	f := &pending{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	h.fences[f] = struct{}{}
	watch := h.watch
	h.mu.Unlock()
	asking, stop := context.WithCancel(ctx)
	defer func() {
		stop() // and does not wait for a server that ignores it: Wait does
		h.mu.Lock()
		defer h.mu.Unlock()
		h.endLocked(f)
	}()
	if watch != nil {
		h.asking.Go(func() { h.ask(asking, watch, f) })
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		done, next := h.look(f, called)
		if done {
			return nil
		}
		timer.Reset(time.Until(next))
		select {
		case <-f.wake:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look reports whether a fence may return now, and if not, when to look again.
func (h *Holder) look(f *pending, called time.Time) (done bool, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, lease, early := time.Now(), h.lease, false
	for _, a := range f.attempts {
		settled, at := h.settledLocked(a, now)
		early = early || settled
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
		lease = max(lease, a.lease) // all replicas should have the same S; if not, the longest counts
	}
	end := called.Add(lease + Margin(lease))
	if next.IsZero() || next.After(end) {
		next = end
	}
	late := !now.Before(end)
	if early || late {
		h.stats.Fences++
	}
	if late && !early {
		h.stats.Waited++
	}
	return early || late, next
}

// settledLocked reports whether a fence may return early. If only time is missing, it returns when that has passed.
func (h *Holder) settledLocked(a *attempt, now time.Time) (early bool, next time.Time) {
	w := a.watch
	if a.expected == nil || w != h.watch || w.begunAt.IsZero() || a.registry == "" || a.registry != w.registry {
		return false, time.Time{}
	}
	for _, number := range w.links {
		// Judged now, not when the fence began: a caller that has just subscribed to the new master answers itself at once.
		if epoch, arrived := a.own[Link{w.name, number}]; !arrived || epoch != w.epoch {
			return false, time.Time{}
		}
	}
	for link, delivered := range a.expected {
		if !delivered || link.Holder != w.name && !a.answered[link] {
			return false, time.Time{}
		}
	}
	old := w.begunAt.Add(a.lease + Margin(a.lease))
	if known := w.knownSince.Add(a.lease + Margin(a.lease)); known.After(old) {
		old = known
	}
	return !now.Before(old), old
}

func (h *Holder) endLocked(f *pending) {
	delete(h.fences, f)
	for id, a := range h.attempts {
		if a.fence == f {
			delete(h.attempts, id)
		}
	}
}

// ask makes one attempt after the other.
func (h *Holder) ask(ctx context.Context, w *Watch, f *pending) {
	for {
		h.try(ctx, w, f)
		if backoff.Sleep(ctx, h.lease/lookShare) != nil {
			return
		}
	}
}

// try sends the markers. Without an answer of all servers the fence cannot return early.
func (h *Holder) try(ctx context.Context, w *Watch, f *pending) {
	id := rand.Text()
	a := &attempt{fence: f, watch: w, answered: make(map[Link]bool), own: make(map[Link]uint64), lease: h.lease}
	h.mu.Lock()
	h.attempts[id] = a
	f.attempts = append(f.attempts, a)
	h.mu.Unlock()
	marked, err := w.server.Mark(ctx, id)
	if err != nil {
		return
	}
	h.looked(marked.Look)
	if same, err := w.server.SameMasters(ctx); err != nil || !same {
		return
	}
	expected := make(map[Link]bool)
	for _, link := range marked.Sent {
		expected[link] = true
	}
	for _, link := range marked.Silent {
		expected[link] = false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	a.expected, a.registry = expected, marked.Registry
	for _, e := range marked.Holders {
		a.lease = max(a.lease, e.Lease)
	}
	h.wakeLocked()
}
