// Package lincheck checks that each storage by itself is linearizable: however many callers use a session at once, each
// call takes effect at one instant between its beginning and its end. Compare-and-set, Create, Take and the promises of
// RoutingStorage all depend on that.
//
// The search for such instants is porcupine's. This is a module of its own, so that users of the library do not depend
// on porcupine.
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

// output is the result of a call.
type output struct {
	err      string // "", "not found", "exists" or "conflict"
	revision uint64 // of the session that was loaded, taken or written
	value    string
}

// state is the state of one session.
type state struct {
	revision uint64 // 0: there is none
	value    string
	last     uint64 // the greatest revision so far: none is used again
}

// model is the contract of session.Storage, session.Creator and session.Taker as a sequential program. Sessions are
// independent, so each is checked on its own.
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

// step reports whether a call may have this result in a state, and returns the state after it.
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

// write accepts any revision that is greater than all earlier ones.
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
