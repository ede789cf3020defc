package main

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// order returns a random order of n sessions, different for each goroutine, the same in each run.
func order(n, goroutine int) []int {
	return rand.New(rand.NewPCG(1, uint64(goroutine))).Perm(n) //nolint:gosec // nothing is secret
}

// inTurns runs n pieces of work in turns, repeatedly within a round, so that a brief disturbance hits all of them
// alike. The result of a round is the median of its turns.
func (c *config) inTurns(
	n int, work func(i int) (ns, allocs float64, err error),
) (ns, allocs []series, err error) {
	ns, allocs = make([]series, n), make([]series, n)
	for range c.rounds {
		times, counts := make([]series, n), make([]series, n)
		for range c.turns {
			for i := range n {
				t, a, err := work(i)
				if err != nil {
					return nil, nil, err
				}
				times[i], counts[i] = append(times[i], t), append(counts[i], a)
			}
		}
		for i := range n {
			ns[i], allocs[i] = append(ns[i], times[i].Median()), append(allocs[i], counts[i].Median())
		}
	}
	return ns, allocs, nil
}

// burst is the number of loads between two readings of the clock.
const burst = 100

// slot runs each loader for about d, through its own order repeatedly. It returns the nanoseconds from one load to the
// next, over all loaders, and the allocations of one load.
func slot(ctx context.Context, loaders []loader, orders [][]int, d time.Duration) (ns, allocs float64, err error) {
	runtime.GC() // the garbage of the previous design must not burden this one
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var (
		wg    sync.WaitGroup
		rates = make([]float64, len(loaders)) // loads per nanosecond
		loads = make([]int, len(loaders))
		errs  = make([]error, len(loaders))
	)
	for g, load := range loaders {
		wg.Go(func() {
			// The loop writes to nothing that goroutines share: that would cost the fast designs much of their time.
			var (
				start = time.Now()
				n     int
				err   error
			)
			for time.Since(start) < d && err == nil && ctx.Err() == nil {
				err = runBurst(load, orders[g], n)
				n += burst
			}
			errs[g], loads[g] = err, n
			rates[g] = float64(n) / float64(time.Since(start))
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	var rate, total float64
	for g := range loaders {
		if errs[g] != nil {
			return 0, 0, errs[g]
		}
		rate += rates[g]
		total += float64(loads[g])
	}
	return 1 / rate, float64(after.Mallocs-before.Mallocs) / total, ctx.Err()
}

func runBurst(load loader, order []int, from int) error {
	from %= len(order)
	for _, i := range order[from:min(from+burst, len(order))] {
		if err := load(i); err != nil {
			return err
		}
	}
	return nil
}
