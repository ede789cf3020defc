// Package lincheck checks that each storage by itself is linearizable: however many callers use a session at once, each
// of their calls takes effect at one instant between its beginning and its end. Without that, compare-and-set, Create
// and Take would be worth nothing, and the promises of RoutingStorage are built on it.
//
// The search for such instants is porcupine's. It has a module of its own, so that nobody gets porcupine with the
// library.
package lincheck

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// input is a call.
type input struct {
	kind  string // "load", "store", "create", "delete" or "take"
	id    string
	base  uint64 // the revision that the session to be stored came from; 0: stored unconditionally
	value string
}

// output is what a call has returned.
type output struct {
	err      string // "", "not found", "exists" or "conflict"
	revision uint64 // of the session that was loaded, taken or written
	value    string
}

// state is one session.
type state struct {
	revision uint64 // 0: there is none
	value    string
	last     uint64 // the greatest revision that there was: none is used again
}

// model is the contract of session.Storage, session.Creator and session.Taker as a sequential program. Sessions do not
// depend on each other, so each is checked by itself.
var model = porcupine.Model{
	Partition: byID,
	Init:      func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		next, ok := s.(state).step(in.(input), out.(output))
		return ok, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", in, out) },
	DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
}

// step reports whether a call may return this in a state, and the state after it.
func (s state) step(in input, out output) (state, bool) {
	switch in.kind {
	case "load":
		return s, out == s.read()
	case "take":
		return state{last: s.last}, out == s.read()
	case "delete":
		return state{last: s.last}, out == output{}
	case "store":
		switch {
		case in.base == 0 || in.base == s.revision:
			return s.write(in, out)
		case s.revision == 0:
			return s, out == output{err: "not found"}
		default:
			return s, out == output{err: "conflict"}
		}
	case "create":
		if s.revision != 0 {
			return s, out == output{err: "exists"}
		}
		return s.write(in, out)
	}
	return s, false
}

func (s state) read() output {
	if s.revision == 0 {
		return output{err: "not found"}
	}
	return output{revision: s.revision, value: s.value}
}

// write accepts any revision that is greater than all before.
func (s state) write(in input, out output) (state, bool) {
	next := state{revision: out.revision, value: in.value, last: out.revision}
	return next, out.err == "" && out.value == in.value && out.revision > s.last
}

func byID(history []porcupine.Operation) [][]porcupine.Operation {
	var order []string
	sessions := make(map[string][]porcupine.Operation)
	for _, op := range history {
		id := op.Input.(input).id
		if sessions[id] == nil {
			order = append(order, id)
		}
		sessions[id] = append(sessions[id], op)
	}
	partitions := make([][]porcupine.Operation, len(order))
	for i, id := range order {
		partitions[i] = sessions[id]
	}
	return partitions
}
