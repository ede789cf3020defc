package sim

import "time"

// ending is why a state of a session ended.
type ending int

const (
	lasts       ending = iota // until the simulation ends
	overwritten               // by a write
	removed                   // by a Delete or a Take
	idle                      // not used for its idle lifetime
	expired                   // at its ExpiresAt
	lost                      // in a restart without data
	evicted                   // removed by the server, without an event
)

func (e ending) String() string {
	return [...]string{"lasts", "overwritten", "removed", "idle", "expired", "lost", "evicted"}[e]
}

// span is a time during which the remote had one state of a session. It ends when the change took place in the remote,
// not when a replica learned of it.
type span struct {
	revision  uint64 // 0: there is no session
	value     string
	expiresAt time.Time
	idle      time.Duration // its idle lifetime, see Config.idleOf
	from, to  time.Duration // to is exclusive
	end       ending
}

const endOfTime = time.Duration(1<<63 - 1)

// ledger is the truth: the state that the remote had, of every session, at every instant.
type ledger map[string][]span

// set records that the remote has another state of a session from an instant on.
func (l ledger) set(id string, at time.Duration, why ending, next span) {
	spans := l[id]
	if len(spans) == 0 {
		spans = []span{{to: endOfTime}} // no session, from the beginning
	}
	last := &spans[len(spans)-1]
	if last.revision == 0 && next.revision == 0 {
		return
	}
	last.to, last.end = at, why
	next.from, next.to = at, endOfTime
	l[id] = append(spans, next)
}

// spans returns all states of a session. One that was never stored has a single span without a session.
func (l ledger) spans(id string) []span {
	if spans := l[id]; len(spans) > 0 {
		return spans
	}
	return []span{{to: endOfTime}}
}
