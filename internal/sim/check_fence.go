package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed34611480/session/internal/fence"
)

// fences is what the fences of a history promise: for each session, which of its changes were acknowledged when.
type fences struct {
	returned []*Op // the fences that returned nil, in the order in which they did
	changes  map[string][]change
}

type change struct{ committed, acknowledged time.Duration }

func fencesOf(h *History) fences {
	f := fences{changes: make(map[string][]change)}
	for _, op := range h.Ops {
		switch {
		case op.Outcome != OK:
		case op.Kind == Fence:
			f.returned = append(f.returned, op)
		case op.Answer == OK:
			f.changes[op.ID] = append(f.changes[op.ID], change{op.Committed, op.Returned})
		}
	}
	slices.SortFunc(f.returned, func(a, b *Op) int { return cmp.Compare(a.Returned, b.Returned) })
	return f
}

// horizon returns when the latest change took effect that was acknowledged before a fence was called that had returned
// when a load began. No state that ended by then may be loaded.
func (f *fences) horizon(load *Op) (committed time.Duration) {
	committed = -1
	var called time.Duration = -1
	for _, fence := range f.returned {
		if fence.Returned > load.Invoked {
			break
		}
		called = max(called, fence.Invoked)
	}
	for _, c := range f.changes[load.ID] {
		if c.acknowledged < called {
			committed = max(committed, c.committed)
		}
	}
	return committed
}

// fence checks how long a fence took: not much longer than S, whatever was wrong, and a few round trips if nothing was.
func (c *checker) fence(op *Op) {
	cfg := &c.history.Config
	if op.Outcome != OK {
		return
	}
	took := op.Returned - op.Invoked
	s := max(cfg.Staleness, cfg.stalenessOf(op.Replica))
	if most := s + fence.Margin(s); took > most+lanes {
		c.violatedf("P10", op, "the fence took %v, of %v", took, most)
	}
	quick := 8*cfg.Delay + cfg.late()
	if cfg.Calm && op.Invoked > 3*cfg.Staleness && took > quick {
		c.violatedf("P10", op, "the fence took %v, although nothing was wrong", took)
	}
}
