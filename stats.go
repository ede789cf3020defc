package session

import (
	"sync/atomic"
	"time"
)

// Mode is why a [RoutingStorage] may serve local sessions at present.
type Mode string

const (
	// ModeLeased: change events flow, local sessions are served for as long as they do.
	ModeLeased Mode = "leased"
	// ModeBoundedAge: there are no change events, local sessions are served for MaxStaleness after they were fetched.
	ModeBoundedAge Mode = "bounded age"
	// ModeStaleIfError: the remote cannot be reached, and [WithStaleIfError] allows to serve older state.
	ModeStaleIfError Mode = "stale-if-error"
)

// Stats is a snapshot of a [RoutingStorage]. Numbers count from when it was made.
type Stats struct {
	Mode     Mode
	ProofAge time.Duration // since the last proof that no change event was missing; negative: there was none

	Hits         uint64 // loads answered from the local tier
	Misses       uint64 // loads that had to wait for the remote
	Refused      uint64 // misses although there was a copy: it was too old and not covered by a lease
	Stale        uint64 // loads answered with older state during an outage, see [WithStaleIfError]
	RemoteLoads  uint64 // loads sent to the remote: fewer than misses when callers shared one, and refreshes
	Refreshes    uint64 // sessions asked for in the background, ahead of a miss; see [WithRefreshAfter]
	DroppedFills uint64 // remote loads whose result was not kept, as the session changed meanwhile

	Entries   int    // entries in the local tier now, some of which may not be servable any more
	Evictions uint64 // entries that had to make room for others
	Events    uint64 // changes and removals that the remote reported
	Revoked   uint64 // entries that were dropped because of one of these
	Gaps      uint64 // times that the reports began, or began anew after some may have been missed
}

type counters struct {
	hits [hitCounters]hitCounter

	misses, refused, stale, remoteLoads, refreshes, droppedFills atomic.Uint64
	evictions, events, revoked, gaps                             atomic.Uint64

	provenAt     atomic.Int64 // an instant; 0 if nothing was proven yet
	servingStale atomic.Bool  // since the last load that the remote answered
}

// hitCounter is one of several, each in a cache line of its own: processors that count hits do not wait for each other.
type hitCounter struct {
	_ [cacheLine - 8]byte // first: what precedes the counters is read by every hit
	n atomic.Uint64
}

const hitCounters = 64

func (c *counters) hit() { c.hits[stripe()%hitCounters].n.Add(1) }

func (c *counters) countHits() (sum uint64) {
	for i := range c.hits {
		sum += c.hits[i].n.Load()
	}
	return sum
}

// Stats returns the present state and the counts so far. They are read one by one: a load that is under way may be in
// some and not in others.
func (r *RoutingStorage) Stats() Stats {
	r.mu.Lock()
	entries := r.local.lenLocked()
	r.mu.Unlock()

	now := r.clock.now()
	mode := ModeBoundedAge
	if r.stats.servingStale.Load() {
		mode = ModeStaleIfError
	} else if l := r.lease.read(); l.covers(l.epoch, now) {
		mode = ModeLeased
	}
	proofAge := time.Duration(-1)
	if provenAt := r.stats.provenAt.Load(); provenAt > 0 {
		proofAge = time.Duration(now - instant(provenAt))
	}
	return Stats{
		Mode:         mode,
		ProofAge:     proofAge,
		Hits:         r.stats.countHits(),
		Misses:       r.stats.misses.Load(),
		Refused:      r.stats.refused.Load(),
		Stale:        r.stats.stale.Load(),
		RemoteLoads:  r.stats.remoteLoads.Load(),
		Refreshes:    r.stats.refreshes.Load(),
		DroppedFills: r.stats.droppedFills.Load(),
		Entries:      entries,
		Evictions:    r.stats.evictions.Load(),
		Events:       r.stats.events.Load(),
		Revoked:      r.stats.revoked.Load(),
		Gaps:         r.stats.gaps.Load(),
	}
}
