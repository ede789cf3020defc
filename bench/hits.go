package main

import (
	"context"
	"fmt"
	"runtime"
)

// hitRow is the cost of one load in a design that has been warmed up.
type hitRow struct {
	Name, SetUp string
	Parallel    series // two goroutines on two cores: ns from one load to the next
	Single      series // one goroutine, GOMAXPROCS=1
	Allocs      series
}

// Scaling is the throughput of two cores over that of one.
func (h hitRow) Scaling() series { return h.Single.over(h.Parallel) }

func measureHits(ctx context.Context, c config, s *server, keys *fixture) ([]hitRow, error) {
	e := env{server: s, keys: keys, speed: 1}
	if err := keys.seed(ctx, s.admin); err != nil {
		return nil, err
	}
	all := designs()
	rows := make([]hitRow, len(all))
	loaders := make([][]loader, len(all))
	for i, d := range all {
		o, err := d.open(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		defer o.close()
		rows[i] = hitRow{Name: d.name, SetUp: d.setUp}
		loaders[i] = []loader{o.loader(), o.loader()}
	}

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	orders := [][]int{order(len(keys.ids), 0), order(len(keys.ids), 1)}
	ns, allocs, err := c.inTurns(2*len(rows), func(i int) (ns, allocs float64, err error) {
		design, cores := i/2, 1+i%2
		// Other designs have prolonged sessions that client-side caches hold, and the caches dropped these.
		err = warm(loaders[design], keys)
		if err == nil {
			runtime.GOMAXPROCS(cores)
			ns, allocs, err = slot(ctx, loaders[design][:cores], orders, c.slot)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", rows[design].Name, err)
		}
		return ns, allocs, err
	})
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Single, rows[i].Parallel, rows[i].Allocs = ns[2*i], ns[2*i+1], allocs[2*i+1]
	}
	return rows, nil
}
