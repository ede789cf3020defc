package session

import "time"

// Mode tells what currently permits a [RoutingStorage] to serve local sessions.
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
	Misses       uint64 // loads that had to wait for the remote, as each LoadFresh does
	Unknown      uint64 // loads answered "not found" without asking the remote, see [WithRememberedMisses]
	Refused      uint64 // misses although there was a copy: it was too old and not covered by a lease
	Stale        uint64 // loads answered with older state during an outage, see [WithStaleIfError]
	RemoteLoads  uint64 // loads sent to the remote: fewer than misses when callers shared one, and refreshes
	Refreshes    uint64 // sessions asked for in the background, ahead of a miss; see [WithRefreshAfter]
	DroppedFills uint64 // remote loads whose result was not kept, as the session changed meanwhile
	TooLarge     uint64 // sessions that were loaded or stored, and too large for the local tier; see [WithMaxLocalBytes]
	Queued       uint64 // loads that waited for their turn, see [WithLoadConcurrency]
	Rejected     uint64 // loads that were not sent: their turn did not come in time, or the remote did not answer others
	DroppedUses  uint64 // uses of sessions that the remote was not told of, as too many waited
	Panics       uint64 // panics in calls of the remote that were contained, and reported as [ErrUnavailable]

	Entries   int    // entries in the local tier now, some of which may not be servable any more
	Bytes     int64  // what the local tier takes of the heap now, within a tenth
	Missing   int    // ids remembered now of which the remote has no session, see [WithRememberedMisses]
	Evictions uint64 // entries that had to make room for others
	Events    uint64 // changes and removals that the remote reported
	Revoked   uint64 // entries that were dropped because of one of these
	Gaps      uint64 // times that the reports began, or began anew after some may have been missed
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
	}
	return Stats{
		Mode: mode, ProofAge: c.ProofAge,
		Hits: c.Hits, Misses: c.Misses, Unknown: c.Absent, Refused: c.Refused, Stale: c.Stale,
		RemoteLoads: c.RemoteLoads, Refreshes: c.Refreshes, DroppedFills: c.DroppedFills, TooLarge: c.TooLarge,
		Queued: c.Queued, Rejected: c.Rejected, DroppedUses: c.DroppedUses, Panics: c.Panics,
		Entries: c.Entries, Bytes: c.Bytes, Missing: c.AbsentIDs, Evictions: c.Evictions,
		Events: c.Events, Revoked: c.Revoked, Gaps: c.Gaps,
	}
}
