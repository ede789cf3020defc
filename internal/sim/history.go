package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed34611480/session"
)

// Kind is the operation that a client calls.
type Kind string

// The operations of [session.Storage] and its capabilities, and those that only [session.RoutingStorage] has.
const (
	Load          Kind = "load"
	LoadFresh     Kind = "load fresh"
	Peek          Kind = "peek"
	Store         Kind = "store"
	Create        Kind = "create"
	Delete        Kind = "delete"
	Take          Kind = "take"
	DeleteExpired Kind = "delete expired"
	Revoke        Kind = "revoke"
	Fence         Kind = "fence"
)

// sweeps reports whether an operation removes any number of sessions.
func (k Kind) sweeps() bool { return k == DeleteExpired || k == Revoke }

// reads reports whether an operation returns a session, and changes none.
func (k Kind) reads() bool { return k == Load || k == LoadFresh || k == Peek }

// Outcome is an error as a caller sees it.
type Outcome string

// One for each error that callers can tell apart.
const (
	OK          Outcome = "ok"
	NotFound    Outcome = "not found"
	Exists      Outcome = "exists"
	Conflict    Outcome = "conflict"
	Unavailable Outcome = "unavailable"
	Closed      Outcome = "closed"
	GivenUp     Outcome = "given up" // the caller's context has ended
	Other       Outcome = "other"
	None        Outcome = "" // not known
)

func outcomeOf(err error) Outcome {
	for _, known := range []struct {
		err     error
		outcome Outcome
	}{
		{nil, OK},
		{session.ErrNotFound, NotFound},
		{session.ErrExists, Exists},
		{session.ErrConflict, Conflict},
		{session.ErrClosed, Closed},
		{session.ErrUnavailable, Unavailable},
		{context.Canceled, GivenUp},
		{context.DeadlineExceeded, GivenUp},
	} {
		if errors.Is(err, known.err) {
			return known.outcome
		}
	}
	return Other
}

// Op is one operation of a client, its result, and its effect in the remote.
type Op struct {
	Client, Number int
	Replica        int
	Life           int // which life of the replica: 1 after its first restart
	Kind           Kind
	ID             string
	Owner          string // of that session, or whose sessions a Revoke ends
	Base           uint64 // the revision of the session to store
	Value          string // its value
	Impatient      bool   // the caller's context is set to end early

	Invoked, Returned time.Duration
	Outcome           Outcome
	Revision          uint64 // of the session that was loaded, taken or stored
	Got               string // its value
	ExpiresAt         time.Time
	Entries           int           // number of entries in the replica's local tier afterwards
	ProofAge          time.Duration // of its last proof, then
	AfterClose        bool          // the replica was closed before this began
	horizon           time.Duration // see Check

	// A write's effect in the remote, which may come later than the answer.
	Committed time.Duration
	Answer    Outcome // None: the request has not arrived
	Prior     uint64  // the revision before the write
	Assigned  uint64  // the revision that the write got
}

func (o *Op) String() string {
	line := fmt.Sprintf("%14d %14d  client %d.%d  replica %d.%d  %s %s",
		o.Invoked, o.Returned, o.Client, o.Number, o.Replica, o.Life, o.Kind, o.ID)
	if o.Value != "" {
		line += fmt.Sprintf(" %s on %d", o.Value, o.Base)
	}
	line += fmt.Sprintf(": %s", o.Outcome)
	if o.Revision != 0 {
		line += fmt.Sprintf(" %s at revision %d", o.Got, o.Revision)
	}
	if o.Answer != None {
		line += fmt.Sprintf("; in the remote at %d: %s, revision %d, before %d",
			o.Committed, o.Answer, o.Assigned, o.Prior)
	}
	return line
}

// place is a session on a replica.
type place struct {
	replica int
	id      string
}

// memory is one session in one life of a replica.
type memory struct {
	place
	life int
}

// History is everything that was recorded of a simulation.
type History struct {
	Config Config
	Ops    []*Op // in the order in which they began
	Faults map[string]int

	Revalidated int // number of sessions that the remote was asked about in batches
	Sharded     int // changes that a shard channel alone has carried

	began    time.Time
	truth    ledger
	told     map[place][]time.Duration // when the answer "not found" of the remote arrived
	troubled map[place][]time.Duration // when a call failed; also for anySession
	uses     []use                     // that the remote was told of in batches
	trouble  map[int][]interval        // by replica: when something was wrong with it, its links or the remote
	crowd    map[int]int               // by replica: the most loads that asked the remote at a time
}

type interval struct{ from, to time.Duration }

// disturbed records a fault. Those of the remote concern all replicas.
func (h *History) disturbed(replica int, fault string, from, to time.Duration) {
	first, last := replica, replica
	if strings.HasPrefix(fault, "remote") {
		first, last = 0, h.Config.Replicas-1
	}
	for r := first; r <= last; r++ {
		h.trouble[r] = append(h.trouble[r], interval{from, to})
	}
}

// quiet reports whether nothing was wrong with a replica all the time, and a while before, so that nothing is left of
// an earlier fault.
func (h *History) quiet(replica int, from, to time.Duration) bool {
	c := &h.Config
	from -= c.LoadTimeout + 2*c.Staleness + outageLasts
	return c.CallFaults == 0 && !slices.ContainsFunc(h.trouble[replica], func(i interval) bool {
		return i.from <= to && from <= i.to
	})
}

// anySession stands for all sessions of a replica.
const anySession = "*"

// use is a use of a session, as a replica tells it.
type use struct {
	place
	revision uint64
	at       time.Duration
}

func (h *History) sort() {
	slices.SortFunc(h.Ops, func(a, b *Op) int {
		return cmp.Or(cmp.Compare(a.Invoked, b.Invoked), cmp.Compare(a.Client, b.Client))
	})
}

// String is the whole history, for comparison and for reading.
func (h *History) String() string {
	var text strings.Builder
	for _, op := range h.Ops {
		fmt.Fprintln(&text, op)
	}
	for i := range h.Config.IDs {
		for _, s := range h.truth.spans(nameOf(i)) {
			fmt.Fprintf(&text, "%14d %14d  %s: revision %d %s, %s\n", s.from, s.to, nameOf(i), s.revision, s.value, s.end)
		}
	}
	return text.String()
}

// Around returns the part of a history that shows how an operation came to its result.
func (h *History) Around(op *Op) string {
	var text strings.Builder
	earliest := op.Invoked - 2*h.Config.Staleness
	for _, s := range h.truth.spans(op.ID) {
		if s.to > earliest && s.from <= op.Returned {
			fmt.Fprintf(&text, "%14d %14d  the remote has revision %d %s; %s\n", s.from, s.to, s.revision, s.value, s.end)
		}
	}
	for _, other := range h.Ops {
		if other.ID == op.ID && other.Returned > earliest && other.Invoked <= op.Returned &&
			(other.Replica == op.Replica || !other.Kind.reads()) {
			fmt.Fprintln(&text, other)
		}
	}
	return text.String()
}
