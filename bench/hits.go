package main

import (
	"context"
	"fmt"
	"runtime"
)

// hitRow is what one design takes for a load that it has been warmed up for.
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
		for range 2 {
			load, err := o.warm(keys)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d.name, err)
			}
			loaders[i] = append(loaders[i], load)
		}
	}

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	orders := [][]int{order(len(keys.ids), 0), order(len(keys.ids), 1)}
	for range c.rounds {
		for i := range rows {
			runtime.GOMAXPROCS(2)
			ns, allocs, err := slot(ctx, loaders[i], orders, c.slot)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rows[i].Name, err)
			}
			rows[i].Parallel, rows[i].Allocs = append(rows[i].Parallel, ns), append(rows[i].Allocs, allocs)

			runtime.GOMAXPROCS(1)
			ns, _, err = slot(ctx, loaders[i][:1], orders, c.slot)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rows[i].Name, err)
			}
			rows[i].Single = append(rows[i].Single, ns)
		}
	}
	return rows, nil
}
