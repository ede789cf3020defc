package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Violation is a broken promise, named as in the package documentation of session.
type Violation struct {
	Promise string
	Op      *Op
	Detail  string
}

func (v Violation) String() string { return v.Promise + ": " + v.Detail + "\n  " + v.Op.String() }

// Check compares a history with the promises.
//
// Almost everything follows from one question about each Load: when did the remote have the state (a session or none)
// that it returned? That time must not have ended too early (P2, P3, P5, P9), and must not have begun after the Load
// returned. The checker knows, for the replica and the time when the Load began, how early it may have ended. That is
// the horizon:
//
//   - MaxStaleness before the Load (P2), and nothing before a LoadFresh. The promise counts from when a write has
//     returned; the checker counts from when it took effect in the remote, which is earlier. The protocol achieves that
//     too, so a slow answer gains no time.
//   - the effect of the replica's own writes if they were acknowledged (P3), and the time of their failure if not (P9).
func Check(h *History) []Violation {
	c := &checker{history: h, horizons: make(map[memory]time.Duration), seen: make(map[memory]sighting)}
	c.fences = fencesOf(h)
	for _, m := range moments(h.Ops) {
		if m.begins {
			m.op.horizon = c.horizons[memoryOf(m.op)]
			continue
		}
		c.outcome(m.op)
		switch {
		case m.op.Kind.reads():
			c.load(m.op)
		case m.op.Kind.sweeps():
			c.swept(m.op)
		case m.op.Kind == Fence:
			c.fence(m.op)
		default:
			c.write(m.op)
		}
	}
	c.uses()
	c.crowds()
	return c.violations
}

type checker struct {
	history    *History
	violations []Violation
	horizons   map[memory]time.Duration // set by the replica's own writes so far
	seen       map[memory]sighting
	fences     fences
}

// sighting is a Load that returned an evicted session, late enough to make the replica ask the remote.
type sighting struct {
	revision uint64
	at       time.Duration
}

// moment is the beginning or the end of an operation.
type moment struct {
	op     *Op
	at     time.Duration
	begins bool
}

func moments(ops []*Op) []moment {
	all := make([]moment, 0, 2*len(ops))
	for _, op := range ops {
		all = append(all, moment{op, op.Invoked, true}, moment{op, op.Returned, false})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}

func (c *checker) violatedf(promise string, op *Op, format string, args ...any) {
	c.violations = append(c.violations, Violation{promise, op, fmt.Sprintf(format, args...)})
}

// outcome checks what holds for every operation.
func (c *checker) outcome(op *Op) {
	if limit := c.history.Config.MaxEntries; op.Entries > limit {
		c.violatedf("P7", op, "%d local entries of %d", op.Entries, limit)
	}
	switch {
	case op.AfterClose && op.Outcome != Closed:
		c.violatedf("P8", op, "the replica was closed")
	case op.Outcome == Other:
		c.violatedf("P8", op, "not one of the documented errors")
	case c.unproven(op):
		c.violatedf("P1", op, "no proof for %v, and nothing was wrong", op.ProofAge)
	case op.Outcome == GivenUp && !op.Impatient:
		c.violatedf("P8", op, "the caller has not given up")
	case op.Outcome == Unavailable && !op.Impatient && !c.excused(op):
		c.violatedf("P8", op, "no call to the remote failed meanwhile")
	}
}

// unproven reports whether a replica had lost its lease, without which its loads soon ask the remote. Heartbeats do not
// wait for the load that they keep away.
func (c *checker) unproven(op *Op) bool {
	cfg := &c.history.Config
	return cfg.Watched && !cfg.Early && op.Life == 0 && !op.AfterClose && op.Invoked > 2*cfg.Staleness &&
		c.history.quiet(op.Replica, 0, op.Returned) && (op.ProofAge < 0 || op.ProofAge >= cfg.Staleness)
}

// excused reports whether an operation may have been unavailable: because its own call failed, or, for a Load, because
// its turn to ask the remote did not come, or others got no answer just before.
func (c *checker) excused(op *Op) bool {
	cfg := &c.history.Config
	switch {
	case within(c.history.troubled[placeOf(op)], op.Invoked, op.Returned):
		return true
	case op.Kind != Load && op.Kind != LoadFresh:
		return false
	case within(c.history.troubled[place{op.Replica, anySession}], op.Invoked-cfg.LoadTimeout-outageLasts, op.Returned):
		return true
	}
	// It may have waited for its turn together with the load that began that, perhaps long before, and has left since.
	return cfg.MaxLoads > 0 && slices.ContainsFunc(c.history.Ops, func(other *Op) bool {
		return placeOf(other) == placeOf(op) && other.Kind.reads() && other.Invoked+cfg.LoadTimeout == op.Returned
	})
}

func placeOf(op *Op) place {
	if op.Kind.sweeps() {
		return place{replica: op.Replica}
	}
	return place{op.Replica, op.ID}
}

func memoryOf(op *Op) memory { return memory{placeOf(op), op.Life} }

// load checks a Load that has answered.
func (c *checker) load(op *Op) {
	switch op.Outcome {
	case OK:
		if at := op.ExpiresAt; !at.IsZero() && !c.history.began.Add(op.Returned).Before(at) {
			c.violatedf("P6", op, "the session expired at %d", at.Sub(c.history.began))
		}
		s := c.find(op)
		if s == nil {
			c.violatedf("P9", op, "the remote never had this")
			return
		}
		c.present(op, s)
	case NotFound:
		c.notFound(op)
	}
}

// find returns the time during which the remote had what a Load returned.
func (c *checker) find(op *Op) *span {
	spans := c.history.truth.spans(op.ID)
	for i := range spans {
		if s := &spans[i]; s.revision == op.Revision && s.value == op.Got {
			return s
		}
	}
	return nil
}

// present checks that what a Load returned was true recently enough.
func (c *checker) present(op *Op, s *span) {
	cfg := &c.history.Config
	allowed := cfg.stalenessOf(op.Replica)
	if cfg.StaleIfError > 0 && c.wasTroubled(op) {
		allowed += cfg.StaleIfError
	}
	switch {
	case s.from > op.Returned:
		c.violatedf("P9", op, "the remote had this from %d on", s.from)
	case s.to <= c.fences.horizon(op):
		c.violatedf("P10", op, "outdated since %d (%s), before a fence that had returned", s.to, s.end)
	case s.to <= op.horizon:
		c.violatedf("P3", op, "outdated since %d, and this replica must have known by %d", s.to, op.horizon)
	case op.Kind == LoadFresh && s.to <= op.Invoked:
		c.violatedf("P2", op, "%s at %d, before a load that must not be stale", s.end, s.to)
	case (s.end == idle || s.end == expired) && s.to <= op.Invoked:
		c.violatedf("P5", op, "gone since %d (%s)", s.to, s.end)
	case s.end == evicted && op.Kind != Peek:
		c.evicted(op, s)
	case s.end == evicted:
	case s.to <= op.Invoked-allowed:
		c.violatedf("P2", op, "%s at %d, %v before", s.end, s.to, op.Invoked-s.to)
	case s.end == idle && op.Kind != Peek && !cfg.mayBeDead(op.ID) && c.history.quiet(op.Replica, op.Invoked, s.to):
		c.used(op, s)
	}
}

// used checks that a session that was loaded lived on for its idle lifetime, less the refresh interval. A load just
// before the end proves nothing: its request, which would have kept the session alive, came too late.
func (c *checker) used(op *Op, s *span) {
	cfg := &c.history.Config
	late := 2*cfg.Delay + cfg.late()
	lived := s.to - op.Invoked
	if lived > late && lived < s.idle-max(cfg.refreshAfter(s.idle), 2*cfg.Delay)-cfg.late() {
		c.violatedf("P5", op, "it was idle at %d, only %v later", s.to, lived)
	}
}

// evicted checks that a replica notices an eviction, which sends no event, after the refresh interval. The first Load
// from then on still gets the session, but makes the replica ask the remote. A remote that can revalidate is asked
// after a pause, so that others can join the call, and is then asked again for sessions that have changed.
func (c *checker) evicted(op *Op, s *span) {
	cfg := &c.history.Config
	roundTrip := 2 * cfg.Delay
	if s.idle > 0 && op.Invoked >= s.to+s.idle {
		c.violatedf("P5", op, "gone since %d (%s), more than its idle lifetime", s.to, s.end)
	}
	if !cfg.Calm || cfg.mayBeDead(op.ID) || op.Invoked < s.to+max(cfg.refreshAfter(s.idle), roundTrip) {
		return
	}
	first, again := c.seen[memoryOf(op)]
	if !again || first.revision != s.revision {
		c.seen[memoryOf(op)] = sighting{s.revision, op.Invoked}
		return
	}
	asked := first.at
	if cfg.Revalidates {
		asked += cfg.refreshAfter(s.idle)/gatherShare + roundTrip
	}
	if op.Invoked > asked+roundTrip+cfg.late() {
		c.violatedf("P2", op, "%s at %d, and the replica should have asked at %d", s.end, s.to, asked)
	}
}

// wasTroubled reports whether a call to the remote failed for this replica before the operation returned.
func (c *checker) wasTroubled(op *Op) bool {
	return within(c.history.troubled[place{op.Replica, anySession}], 0, op.Returned) ||
		within(c.history.troubled[placeOf(op)], 0, op.Returned)
}

// uses checks that every use that the remote was told of was one: a client asked for the session just then, or got it.
// So a replica that tells it late, after an outage for example, does not keep an idle session alive.
func (c *checker) uses() {
	asked := make(map[place][]*Op)
	for _, op := range c.history.Ops {
		if op.Kind != Peek {
			asked[placeOf(op)] = append(asked[placeOf(op)], op)
		}
	}
	for _, u := range c.history.uses {
		if !slices.ContainsFunc(asked[u.place], func(op *Op) bool { return op.Invoked <= u.at && u.at <= op.Returned }) {
			op := &Op{Replica: u.replica, ID: u.id, Kind: Load, Invoked: u.at, Returned: u.at}
			c.violatedf("P5", op, "the remote was told of a use that was none")
		}
	}
}

// crowds checks that no more loads than allowed asked the remote at a time. A remote that cannot revalidate is asked by
// loads in the background, too. In an outage there are probes besides.
func (c *checker) crowds() {
	cfg := &c.history.Config
	limit := cfg.MaxLoads
	if !cfg.Revalidates {
		limit += cmp.Or(cfg.MaxRefreshes, defaultRefreshes)
	}
	if !cfg.Calm || cfg.MaxLoads == 0 || cfg.Dead > 0 {
		return
	}
	for replica := range cfg.Replicas {
		if n := c.history.crowd[replica]; n > limit {
			c.violatedf("P7", &Op{Replica: replica, Kind: Load}, "%d loads at a time, of %d", n, limit)
		}
	}
}

// notFound checks a Load that returned ErrNotFound.
func (c *checker) notFound(op *Op) {
	if c.expiredOnItsWay(op) {
		return
	}
	if !within(c.history.told[placeOf(op)], op.Invoked-c.remembers(op), op.Returned) {
		c.violatedf("P8", op, "the remote did not answer that")
	}
	var last span // the last span without a session that began before the Load returned
	for _, s := range c.history.truth.spans(op.ID) {
		if s.revision == 0 && s.from <= op.Returned {
			last = s
		}
	}
	c.present(op, &last)
}

// remembers returns for how long a replica may answer a Load with what the remote has told it.
func (c *checker) remembers(op *Op) time.Duration {
	cfg := &c.history.Config
	if cfg.Misses == 0 || op.Kind != Load {
		return 0
	}
	return max(cfg.RefreshAfter, cfg.stalenessOf(op.Replica))
}

// expiredOnItsWay reports whether the remote may have answered with a session that had expired when the answer arrived.
// That is "not found" too, even if another client has extended the session meanwhile.
func (c *checker) expiredOnItsWay(op *Op) bool {
	for _, s := range c.history.truth.spans(op.ID) {
		over := s.expiresAt.Sub(c.history.began)
		if !s.expiresAt.IsZero() && over > op.Invoked-c.history.Config.Staleness && over <= op.Returned {
			return true
		}
	}
	return false
}

// within reports whether one of the instants, which are sorted, is from a to b.
func within(instants []time.Duration, a, b time.Duration) bool {
	i, _ := slices.BinarySearch(instants, a)
	return i < len(instants) && instants[i] <= b
}
