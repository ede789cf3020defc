package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
)

// finalRow is the time until a session that was deleted is not served anywhere, for a number of replicas.
type finalRow struct {
	Replicas int
	Plain    series // ns, a Delete where each request asks Redis
	Delete   series // ns, a Delete of a RoutingStorage: others may serve the session for a moment
	Final    series // ns, a Delete and a Fence
	Paused   series // ns, the same while one replica is paused
}

const (
	finalStaleness = 500 * time.Millisecond
	pausedDeletes  = 2 // in a round; each takes MaxStaleness
)

// finalTimes says how many replicas there are, and how long to measure each way.
type finalTimes struct {
	replicas []int
	slot     time.Duration
}

func measureFinal(ctx context.Context, c config, s *server) ([]finalRow, error) {
	rows := make([]finalRow, 0, len(c.final.replicas))
	for _, n := range c.final.replicas {
		row, err := measureFinalOf(ctx, c, s, n)
		if err != nil {
			return nil, fmt.Errorf("%d replicas: %w", n, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func measureFinalOf(ctx context.Context, c config, s *server, n int) (finalRow, error) {
	row := finalRow{Replicas: n}
	link, err := netfault.New(s.addr)
	if err != nil {
		return row, err
	}
	defer link.Close()
	var replicas []*session.RoutingStorage
	for i := range n {
		address := s.addr
		if i == n-1 {
			address = link.Addr() // the one that pauses
		}
		client := redis.NewClient(&redis.Options{Addr: address, ContextTimeoutEnabled: true})
		defer client.Close()
		r := session.NewRoutingStorage(session.NewRedisStorage(client, ttl), localEntries, quiet(),
			session.WithFencing(), session.WithMaxStaleness(finalStaleness))
		defer r.Close()
		replicas = append(replicas, r)
	}
	time.Sleep(3 * finalStaleness) // until all epochs are old
	plain := session.NewRedisStorage(s.admin, ttl)
	fenced := func(st session.Storage) error {
		if err := st.Delete(ctx, "id"); err != nil {
			return err
		}
		return replicas[0].Fence(ctx)
	}
	for range c.rounds {
		for _, way := range []struct {
			to *series
			do func() error
		}{
			{&row.Plain, func() error { return plain.Delete(ctx, "id") }},
			{&row.Delete, func() error { return replicas[0].Delete(ctx, "id") }},
			{&row.Final, func() error { return fenced(replicas[0]) }},
		} {
			took, err := repeat(c.final.slot, way.do)
			if err != nil {
				return row, err
			}
			*way.to = append(*way.to, took)
		}
		link.SetBoth(netfault.Fault{Hold: true})
		start := time.Now()
		for range pausedDeletes {
			if err := fenced(replicas[0]); err != nil {
				return row, err
			}
		}
		row.Paused = append(row.Paused, float64(time.Since(start))/pausedDeletes)
		link.SetBoth(netfault.Fault{})
		time.Sleep(3 * finalStaleness)
	}
	return row, nil
}

// repeat returns how long a call takes, on average.
func repeat(d time.Duration, do func() error) (ns float64, err error) {
	start, n := time.Now(), 0
	for ; n == 0 || time.Since(start) < d; n++ {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(start)) / float64(n), nil
}
