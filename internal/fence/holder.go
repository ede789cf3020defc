package fence

import (
	"slices"
	"sync"
	"time"
)

// Holder is a replica as a holder of leases, across all of its watches, and as the caller of fences. Its methods are
// safe for concurrent use. Those of a watch are called in the order in which the watch learns of things.
type Holder struct {
	lease time.Duration

	mu       sync.Mutex // protects following fields; nothing waits while holding it
	watch    *Watch     // nil between two watches
	former   []string   // names of earlier watches that may still be in the registry
	fences   map[*pending]struct{}
	attempts map[string]*attempt // by their ids
	looks    looks
	stats    Stats

	asking sync.WaitGroup // what fences have started
}

// Wait returns when nothing is left of fences that have returned.
func (h *Holder) Wait() { h.asking.Wait() }

// Stats counts fences that have returned nil.
type Stats struct {
	Fences uint64
	Waited uint64 // of these, those that could not return early
}

// New returns a holder whose leases last for S after the instant that a heartbeat proves.
func New(lease time.Duration) *Holder {
	return &Holder{lease: lease, fences: make(map[*pending]struct{}), attempts: make(map[string]*attempt)}
}

// Stats returns the counts so far.
func (h *Holder) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// Lease returns S.
func (h *Holder) Lease() time.Duration { return h.lease }

// Link is one subscription of a holder: to one master.
type Link struct {
	Holder string // the name of the watch
	Number string // which of its links
}

// Watch is one watch of a holder, under a name of its own.
type Watch struct {
	holder *Holder
	server Server
	name   string
	links  []string // the numbers

	// Guarded by Holder.mu.
	leaseEnded bool      // events flow anew since this watch began: the lease of the last one is over
	epoch      uint64    // counts the times that events began to flow
	begunAt    time.Time // when the first heartbeat of the epoch came back; zero: none has
	registry   string    // its identity, as heartbeats were told last
	knownSince time.Time
	noted      bool // in the registry, perhaps
}

// Begin notes that a watch begins. The last one has ended.
func (h *Holder) Begin(server Server, name string, links []string) *Watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watch = &Watch{holder: h, server: server, name: name, links: links}
	return h.watch
}

// End notes that the watch has ended, and that it sends no heartbeat any more.
func (w *Watch) End() {
	h := w.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.noted {
		h.former = append(h.former, w.name)
	}
	if h.watch == w {
		h.watch = nil
	}
	h.wakeLocked()
}

// Note is called before a heartbeat is sent that registers the holder.
func (w *Watch) Note() {
	w.holder.mu.Lock()
	defer w.holder.mu.Unlock()
	w.noted = true
}

// Gap notes that events flow from here on, after the holder has taken that in: its lease is over, and no epoch has
// begun.
func (w *Watch) Gap() {
	w.holder.mu.Lock()
	defer w.holder.mu.Unlock()
	w.leaseEnded = true
	w.epoch++
	w.begunAt = time.Time{}
}

// Proven notes that a heartbeat was delivered by the server that took it, and has come back; of several masters, one
// from each. The first one begins the epoch. An epoch that began with the subscription would begin too early:
//
//  1. The subscription is made to a server that is promoted only afterwards.
//  2. A holder takes a lease from the old master. Its registration does not reach the new one.
//  3. The other server is promoted, and a value is changed there.
//  4. The epoch is S old, the fence finds no holder, and returns. The lease is younger than the epoch.
func (w *Watch) Proven() {
	h := w.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.begunAt.IsZero() {
		w.begunAt = time.Now()
		h.wakeLocked()
	}
}

// Told notes the identity of the registry that a heartbeat was told.
func (w *Watch) Told(registry string) {
	h := w.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.registry != registry {
		w.registry, w.knownSince = registry, time.Now()
		h.wakeLocked()
	}
}

// Marked notes that the marker of a fence has arrived on a link of the caller itself, behind everything that was
// delivered there before.
func (w *Watch) Marked(fence, link string) {
	h := w.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.attempts[fence]; a != nil && !w.begunAt.IsZero() {
		a.own[Link{w.name, link}] = w.epoch
		h.wakeLocked()
	}
}

// Answered notes a holder's answer: it has applied everything that came before the marker of a fence on its link.
func (h *Holder) Answered(fence string, by Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.attempts[fence]; a != nil {
		a.answered[by] = true
		h.wakeLocked()
	}
}

// Former returns the names under which this holder may still be in the registry, and has no lease any more. That of the
// present watch is not among them, nor, until events flow again, that of the last one: the lease may still run.
func (h *Holder) Former() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch == nil || !h.watch.leaseEnded {
		return nil
	}
	return slices.Clone(h.former)
}

// Names returns all names under which this holder may be in the registry, for a holder that has stopped to serve, and
// whose watch has ended.
func (h *Holder) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.former)
}

// Removed notes that names are not in the registry any more.
func (h *Holder) Removed(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.former = slices.DeleteFunc(h.former, func(name string) bool { return slices.Contains(names, name) })
}

// wakeLocked makes the fences look again.
func (h *Holder) wakeLocked() {
	for f := range h.fences {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}
