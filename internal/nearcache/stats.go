package nearcache

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Stats is a snapshot of a [Cache]. Numbers count from when it was made.
type Stats struct {
	Leased       bool          // reports flow: copies of this epoch are served for as long as they do
	ServingStale bool          // older state was served less than MaxStaleness ago, and the source has not answered since
	Outage       bool          // the source does not answer: loads fail at once, except for probes
	Away         bool          // the latest load or attempt to watch that was sent has failed, and nothing came back since
	ProofAge     time.Duration // since the asOf of the last proof; negative: there was none

	Hits         uint64 // loads answered with a copy
	Misses       uint64 // loads that no copy answered but in an outage, and each fresh one
	Absent       uint64 // loads answered with a remembered absence
	Refused      uint64 // misses although there was a copy: it was too old, and not covered by the lease
	Stale        uint64 // misses answered with older state in an outage
	RemoteLoads  uint64 // calls of Config.Load
	Refreshes    uint64 // values asked for in the background, ahead of a miss
	DroppedFills uint64 // loads whose result was not kept, as the value changed meanwhile
	TooLarge     uint64 // results that were not kept, as a copy would take more than an eighth of MaxBytes
	Queued       uint64 // loads that waited for their turn, as LoadConcurrency others had not returned
	Rejected     uint64 // loads that failed without asking the source: their turn did not come, or in an outage
	DroppedUses  uint64 // uses that the source is not told of, as too many waited
	Panics       uint64 // panics of the source that were contained

	Entries   int    // copies held now, some of which may not be servable any more
	Bytes     int64  // what these and their index take of the heap, about
	AbsentIDs int    // ids of which an absence is remembered now
	Evictions uint64 // copies that made room for others
	Events    uint64 // changes and removals that the watcher reported
	Revoked   uint64 // copies dropped because of one of these
	Gaps      uint64 // times that reports began, or began anew
}

type counters struct {
	hits [hitCounters]hitCounter

	misses, absent, refused, stale, remoteLoads     atomic.Uint64
	refreshes, droppedFills                         atomic.Uint64
	queued, rejected, droppedUses, panics, tooLarge atomic.Uint64
	evictions, events, revoked, gaps                atomic.Uint64

	provenAt atomic.Int64 // an instant; 0 if nothing was proven yet
	staleAt  atomic.Int64 // an instant: when older state was served last; 0 if the source has answered since
}

// hitCounter is one shard of the count of hits, on a cache line of its own: processors that count hits do not take the
// line from each other. Processors fetch lines in pairs, hence 128.
type hitCounter struct {
	_ [128 - 8]byte // first: every hit reads what precedes the counters
	n atomic.Uint64
}

const hitCounters = 64

func (c *counters) hit() { c.hits[shard()%hitCounters].n.Add(1) }

// Answered reports whether the source has answered a call since the cache was made.
func (c *Cache[V]) Answered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.answered
}

// shard picks a shard by the caller's stack address, so that goroutines rarely share one.
func shard() uint {
	var here byte
	return shardOf(uintptr(unsafe.Pointer(&here))) //nolint:gosec // only a number, never a pointer again
}

// shardOf gives neighboring stacks of 2 KiB, the least, and more different shards.
func shardOf(stack uintptr) uint { return uint(stack>>11 ^ stack>>17) }

func (c *counters) countHits() (sum uint64) {
	for i := range c.hits {
		sum += c.hits[i].n.Load()
	}
	return sum
}

func (c *counters) event(dropped bool) {
	c.events.Add(1)
	if dropped {
		c.revoked.Add(1)
	}
}

func (c *counters) serveStale(now instant) {
	c.stale.Add(1)
	c.staleAt.Store(int64(now))
}

// Stats returns the present state, and the counts so far. They are read one by one: a load that has not returned yet
// may be in some and not in others.
func (c *Cache[V]) Stats() Stats {
	c.mu.Lock()
	entries, bytes, absentIDs, outage := c.table.lenLocked(), c.table.bytes, c.absence.len(), c.gate.outage
	away := c.gate.unheardAt > c.gate.heardAt
	c.mu.Unlock()

	now := c.clock.now()
	staleAt := instant(c.stats.staleAt.Load())
	l := c.lease.Load()
	proofAge := time.Duration(-1)
	if provenAt := c.stats.provenAt.Load(); provenAt > 0 {
		proofAge = time.Duration(now - instant(provenAt))
	}
	return Stats{
		Leased:       l.covers(l.epoch, now),
		ServingStale: staleAt > 0 && now < staleAt.add(c.config.MaxStaleness),
		Outage:       outage,
		Away:         away,
		ProofAge:     proofAge,
		Hits:         c.stats.countHits(),
		Misses:       c.stats.misses.Load(),
		Absent:       c.stats.absent.Load(),
		Refused:      c.stats.refused.Load(),
		Stale:        c.stats.stale.Load(),
		RemoteLoads:  c.stats.remoteLoads.Load(),
		Refreshes:    c.stats.refreshes.Load(),
		DroppedFills: c.stats.droppedFills.Load(),
		Queued:       c.stats.queued.Load(),
		Rejected:     c.stats.rejected.Load(),
		DroppedUses:  c.stats.droppedUses.Load(),
		Panics:       c.stats.panics.Load(),
		TooLarge:     c.stats.tooLarge.Load(),
		Entries:      entries,
		Bytes:        bytes,
		AbsentIDs:    absentIDs,
		Evictions:    c.stats.evictions.Load(),
		Events:       c.stats.events.Load(),
		Revoked:      c.stats.revoked.Load(),
		Gaps:         c.stats.gaps.Load(),
	}
}
