package sim

import "time"

// ending is why a state of a session came to its end.
type ending int

const (
	lasts       ending = iota // until the simulation ends
	overwritten               // by a write
	removed                   // by a Delete or a Take
	idle                      // not used for a TTL
	expired                   // at its ExpiresAt
	lost                      // in a restart without data
	evicted                   // behind everybody's back, without an event
)

func (e ending) String() string {
	return [...]string{"lasts", "overwritten", "removed", "idle", "expired", "lost", "evicted"}[e]
}

// span is a time through which the remote had one state of a session. What matters about a span's end is when it took
// place in the remote, not when anybody learned of it.
type span struct {
	revision  uint64 // 0: there is no session
	value     string
	expiresAt time.Time
	from, to  time.Duration // to is not part of it
	end       ending
}

const endOfTime = time.Duration(1<<63 - 1)

// ledger is the truth: what the remote had, of every session, at every instant.
type ledger map[string][]span

// set notes that the remote has another state of a session from an instant on.
func (l ledger) set(id string, at time.Duration, why ending, next span) {
	spans := l[id]
	if len(spans) == 0 {
		spans = []span{{to: endOfTime}} // nothing, from the beginning
	}
	last := &spans[len(spans)-1]
	if last.revision == 0 && next.revision == 0 {
		return
	}
	last.to, last.end = at, why
	next.from, next.to = at, endOfTime
	l[id] = append(spans, next)
}

// spans of a session that nobody ever stored is one span without it.
func (l ledger) spans(id string) []span {
	if spans := l[id]; len(spans) > 0 {
		return spans
	}
	return []span{{to: endOfTime}}
}
