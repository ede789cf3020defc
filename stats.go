package session

import "time"

// Mode tells what currently permits a [RoutingStorage] to serve local sessions.
type Mode string

const (
	// ModeLeased: change events flow, local sessions are served for as long as they do.
	ModeLeased Mode = "leased"
	// ModeBoundedAge: there are no change events, but as far as is known everything else works. Local sessions are served
	// for MaxStaleness after they were fetched; with [WithFencing] none is.
	ModeBoundedAge Mode = "bounded age"
	// ModeUnavailable: there are no change events, and the remote does not answer: the latest load, or the latest attempt
	// to watch it, has failed. Local sessions are served as with ModeBoundedAge, which is not for long. When a part of the
	// remote is away, a master of a Cluster, it alternates with ModeBoundedAge.
	ModeUnavailable Mode = "unavailable"
	// ModeStaleIfError: the remote cannot be reached, and [WithStaleIfError] allows to serve older state.
	ModeStaleIfError Mode = "stale-if-error"
)

// Stats is a snapshot of a [RoutingStorage]. Numbers count from when it was made. It has neither ids nor anything of a
// session, so it may be shown; as JSON, for package expvar say, its fields have the names in their tags.
//
// Each load counts as a hit, as unknown, or as a miss, unless its id is invalid, its context has ended before, or the
// storage was closed. So the hit rate is Hits / (Hits + Unknown + Misses).
type Stats struct {
	Mode     Mode          `json:"mode"`
	ProofAge time.Duration `json:"proof_age_ns"` // since the last proof that no event is missing; negative: none

	Hits         uint64 `json:"hits"`          // loads answered from the local tier
	Misses       uint64 `json:"misses"`        // loads that asked or joined another, as each LoadFresh; and Stale ones
	Unknown      uint64 `json:"unknown"`       // loads answered "not found" by WithRememberedMisses
	Refused      uint64 `json:"refused"`       // misses although there was a copy: too old, and without a lease
	Stale        uint64 `json:"stale"`         // misses answered with older state in an outage, see WithStaleIfError
	RemoteLoads  uint64 `json:"remote_loads"`  // loads sent: fewer than misses when callers shared one, and refreshes
	Refreshes    uint64 `json:"refreshes"`     // sessions renewed in the background, ahead of a miss; see WithRefreshAfter
	Kept         uint64 `json:"kept"`          // sessions that were kept alive in the remote for KeepAlive, each time
	DroppedFills uint64 `json:"dropped_fills"` // remote loads that were not kept, as the session changed meanwhile
	TooLarge     uint64 `json:"too_large"`     // sessions that are too large for the local tier; see WithMaxLocalBytes
	Queued       uint64 `json:"queued"`        // loads that waited for their turn, see WithLoadConcurrency
	Rejected     uint64 `json:"rejected"`      // loads not sent: no turn in time, or the remote did not answer others
	DroppedUses  uint64 `json:"dropped_uses"`  // uses of sessions that the remote was not told of, as too many waited
	Panics       uint64 `json:"panics"`        // panics in calls of the remote, contained and reported as ErrUnavailable

	// What has failed: calls of Load, LoadFresh, Peek and Sessions; calls that write; and background calls that were to
	// renew local copies, and keep sessions alive in the remote, those for KeepAlive included. One such call is for up to
	// 64 sessions, and is repeated.
	FailedLoads     Failures `json:"failed_loads"`
	FailedWrites    Failures `json:"failed_writes"`
	FailedRefreshes Failures `json:"failed_refreshes"`

	// Times that sessions in use could not be listed anew in the index of their owner, see WithOwnerIndex: no call fails
	// because of that, but while it grows, these sessions end although they are used. It is the remote's own count.
	FailedListings uint64 `json:"failed_listings"`

	Entries   int    `json:"entries"`   // entries in the local tier now, some of which may not be servable any more
	Bytes     int64  `json:"bytes"`     // what the local tier takes of the heap now, within a tenth
	Missing   int    `json:"missing"`   // ids remembered now of which the remote has no session; see WithRememberedMisses
	Evictions uint64 `json:"evictions"` // entries that had to make room for others
	Events    uint64 `json:"events"`    // changes and removals that the remote reported
	Revoked   uint64 `json:"revoked"`   // entries that were dropped because of one of these
	Gaps      uint64 `json:"gaps"`      // times that the reports began, or began anew after some may have been missed
	Broadcast uint64 `json:"broadcast"` // events of a Redis Cluster that came by PUBLISH to all nodes, which costs more
}

// Stats returns the present state and the counts so far. They are read one by one: a load that has not returned yet may
// be in some and not in others.
func (rt *RoutingStorage) Stats() Stats {
	c := rt.cache.Stats()
	mode := ModeBoundedAge
	switch {
	case c.ServingStale:
		mode = ModeStaleIfError
	case c.Leased:
		mode = ModeLeased
	case c.Away:
		mode = ModeUnavailable
	}
	return Stats{
		Mode: mode, ProofAge: c.ProofAge,
		Hits: c.Hits, Misses: c.Misses, Unknown: c.Absent, Refused: c.Refused, Stale: c.Stale,
		RemoteLoads: c.RemoteLoads, Refreshes: c.Refreshes, Kept: rt.kept.Load(),
		DroppedFills: c.DroppedFills, TooLarge: c.TooLarge, Queued: c.Queued, Rejected: c.Rejected,
		DroppedUses: c.DroppedUses, Panics: c.Panics,
		FailedLoads:     rt.failedLoads.snapshot(),
		FailedWrites:    rt.failedWrites.snapshot(),
		FailedRefreshes: rt.failedRefreshes.snapshot(),
		FailedListings:  rt.failedListings(),
		Entries:         c.Entries, Bytes: c.Bytes, Missing: c.AbsentIDs, Evictions: c.Evictions,
		Events: c.Events, Revoked: c.Revoked, Gaps: c.Gaps, Broadcast: rt.broadcasts(),
	}
}

// broadcasts returns what the remote tells of itself, as [RedisStorage] does, or 0.
func (rt *RoutingStorage) broadcasts() uint64 {
	if remote, ok := rt.remote.(interface{ Broadcasts() uint64 }); ok {
		return remote.Broadcasts()
	}
	return 0
}

func (rt *RoutingStorage) failedListings() uint64 {
	if remote, ok := rt.remote.(interface{ FailedListings() uint64 }); ok {
		return remote.FailedListings()
	}
	return 0
}
