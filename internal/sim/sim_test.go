package sim

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds    = flag.Uint64("sim.seeds", 300, "simulate the seeds from 1 to this number")
	first    = flag.Uint64("sim.first", 0, "simulate this seed before the others")
	oneSeed  = flag.Uint64("sim.seed", 0, "simulate this seed only, and with -v print its history")
	duration = flag.Duration("sim.for", 0, "simulate one seed after the other for this long")
)

func TestSimulate(t *testing.T) {
	if *oneSeed != 0 {
		h := simulate(t, *oneSeed)
		t.Logf("%+v\n%s", h.Config, h)
		judge(t, h)
		return
	}
	if *first != 0 && !judge(t, simulate(t, *first)) {
		return
	}
	sum := tally{began: time.Now(), faults: make(map[string]int)}
	// A bubble runs almost sequentially, so there is one for each processor.
	t.Run("seeds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("worker ", i), func(t *testing.T) {
				t.Parallel()
				for seed, ok := sum.next(); ok && !t.Failed(); seed, ok = sum.next() {
					h := simulate(t, seed)
					sum.add(h)
					if !judge(t, h) {
						sum.failed.Store(true)
					}
				}
			})
		}
	})
	t.Log(&sum)
}

func simulate(t *testing.T, seed uint64) (h *History) {
	synctest.Test(t, func(*testing.T) { h = Run(NewConfig(seed)) })
	return h
}

// judge fails the test if a promise was broken, and says how to reproduce it.
func judge(t *testing.T, h *History) bool {
	violations := Check(h)
	if len(violations) == 0 {
		return true
	}
	first := violations[0]
	t.Errorf("seed %d: %d violations, the first is of %v\n\nWhat happened to that session on that replica:\n%s\n"+
		"To reproduce it: go test ./internal/sim -run TestSimulate -sim.seed=%d -v",
		h.Config.Seed, len(violations), first, h.Around(first.Op), h.Config.Seed)
	return false
}

// tally counts what was simulated.
type tally struct {
	began  time.Time
	last   atomic.Uint64
	failed atomic.Bool

	mu          sync.Mutex // protects following fields
	operations  map[Kind]int
	seeds       int
	virtual     time.Duration
	revalidated int
	sharded     int
	faults      map[string]int
}

// next returns the next seed, until enough were simulated or one has failed.
func (s *tally) next() (seed uint64, ok bool) {
	seed = s.last.Add(1)
	if *duration > 0 {
		return seed, !s.failed.Load() && time.Since(s.began) < *duration
	}
	return seed, !s.failed.Load() && seed <= *seeds
}

func (s *tally) add(h *History) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations == nil {
		s.operations = make(map[Kind]int)
	}
	s.seeds++
	s.virtual += h.Config.Duration
	s.revalidated += h.Revalidated
	s.sharded += h.Sharded
	for _, op := range h.Ops {
		s.operations[op.Kind]++
	}
	for name, n := range h.Faults {
		s.faults[name] += n
	}
}

func (s *tally) String() string {
	var text strings.Builder
	total := 0
	for _, n := range s.operations {
		total += n
	}
	took := time.Since(s.began)
	fmt.Fprintf(&text, "%d simulations, %d operations, %v of virtual time, in %v: %.0f operations per second\n",
		s.seeds, total, s.virtual, took.Round(time.Millisecond), float64(total)/took.Seconds())
	for _, kind := range slices.Sorted(maps.Keys(s.operations)) {
		fmt.Fprintf(&text, "%10d  %s\n", s.operations[kind], kind)
	}
	fmt.Fprintf(&text, "%10d  revalidated in batches\n", s.revalidated)
	fmt.Fprintf(&text, "%10d  changes reported through a shard channel alone\n", s.sharded)
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&text, "%10d  fault: %s\n", s.faults[name], name)
	}
	return text.String()
}

func TestSameSeedSameHistory(t *testing.T) {
	for seed := range uint64(30) {
		if a, b := simulate(t, seed).String(), simulate(t, seed).String(); a != b {
			t.Errorf("seed %d: two histories, from here on:\n%s", seed, difference(a, b))
		}
	}
}

func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return as[i] + "\n" + bs[i]
		}
	}
	return "one history is longer"
}
