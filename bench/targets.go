package main

import (
	"fmt"
	"slices"
)

// Target is a ratio or number that the library should reach.
type Target struct {
	What    string
	Got     series
	Limit   float64
	AtLeast bool
}

// Reached compares the median with the limit.
func (t Target) Reached() string {
	if median := t.Got.Median(); median == t.Limit || (median > t.Limit) == t.AtLeast {
		return "reached"
	}
	return "**not reached**"
}

// Goal is the limit, in words.
func (t Target) Goal() string {
	if t.AtLeast {
		return "at least " + number(t.Limit)
	}
	return "at most " + number(t.Limit)
}

// Targets compares the results with the goals.
func (r *results) Targets() []Target {
	ours, small, local := r.hit(nameOurs), r.hit(nameOursSmall), r.hit(nameLRU)
	worth := func(name string) series { return r.hit(name).Parallel.over(ours.Parallel) }
	const most, least = false, true
	speed := []Target{
		{"hit, two cores: time over golang-lru's `Get`", ours.Parallel.over(local.Parallel), 0.75, most},
		{"hit, one core: time over golang-lru's `Get`", ours.Single.over(local.Single), 1.6, most},
		{"... on a tier of 1,024, two cores", small.Parallel.over(local.Parallel), 0.75, most},
		{"... on a tier of 1,024, one core", small.Single.over(local.Single), 1.6, most},
		{"hit: allocations", wholes(ours.Allocs), 0, most},
		{"hit: throughput on two cores over one", ours.Scaling(), 1.9, least},
		{"times faster than " + nameGetex, worth(nameGetex), 1000, least},
		{"times faster than " + nameGoRedis, worth(nameGoRedis), 100, least},
		{"times faster than " + nameRueidis, worth(nameRueidis), 50, least},
		{"times faster than " + nameRueidisPlain, worth(nameRueidisPlain), 4, least},
		{
			"miss: time over bare GETEX + decode",
			r.remote(nameMiss).NS.over(r.remote(nameBareGetex).NS), 1.15, most,
		},
		{"store: time over bare SET PX", r.remote(nameStore).NS.over(r.remote(nameBareSet).NS), 1.3, most},
		{
			"store of a loaded session: time over bare SET PX",
			r.remote(nameStoreAgain).NS.over(r.remote(nameBareSet).NS), 1.3, most,
		},
	}
	heap := make([]Target, len(r.entries))
	for i, n := range r.entries {
		heap[i] = Target{
			fmt.Sprintf("heap over golang-lru with the same %s sessions", number(float64(n))),
			r.memory(n, nameOursFull).Heap.over(r.memory(n, nameLRUFull).Heap), 1.3, most,
		}
	}
	commands := []Target{
		{"Redis commands for 1,000 loads: " + nameSteadyOurs, series{r.steady(nameSteadyOurs).Sent}, 0.5, most},
		{"Redis commands for 1,000 loads: " + nameSteadySlow, series{r.steady(nameSteadySlow).Sent}, 0.5, most},
	}
	return slices.Concat(speed, heap, commands)
}

// wholes rounds allocations down, like the testing package: occasional allocations in the background do not belong to a
// hit.
func wholes(s series) series {
	s = slices.Clone(s)
	for i := range s {
		s[i] = float64(int(s[i]))
	}
	return s
}
