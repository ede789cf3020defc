package session

import "sync/atomic"

// Stats is a snapshot of what a [RoutingStorage] has done since it was made.
type Stats struct {
	Hits         uint64 // loads answered from the local tier
	Misses       uint64 // loads that had to wait for the remote
	RemoteLoads  uint64 // loads sent to the remote: fewer than misses when callers shared one, and refreshes
	Refreshes    uint64 // remote loads in the background, ahead of a miss
	Evictions    uint64 // entries that had to make room for others
	DroppedFills uint64 // remote loads whose result was not kept, as the session changed meanwhile
	Entries      int    // entries in the local tier now, some of which may not be servable any more
}

type counters struct {
	hits, misses, remoteLoads, refreshes, evictions, droppedFills atomic.Uint64
}

// Stats returns the counts so far. They are read one by one: a load that is under way may be in some and not in others.
func (r *RoutingStorage) Stats() Stats {
	r.mu.Lock()
	entries := r.local.Len()
	r.mu.Unlock()
	return Stats{
		Hits:         r.stats.hits.Load(),
		Misses:       r.stats.misses.Load(),
		RemoteLoads:  r.stats.remoteLoads.Load(),
		Refreshes:    r.stats.refreshes.Load(),
		Evictions:    r.stats.evictions.Load(),
		DroppedFills: r.stats.droppedFills.Load(),
		Entries:      entries,
	}
}
