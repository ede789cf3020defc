package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// modelRow compares the prediction of the model with what replicas of the library did on a real server, per second.
type modelRow struct {
	Load                workload
	Predicted, Measured cost
}

// settings are small enough for one machine, and differ in what dominates the cost.
func settings() []workload {
	base := workload{
		Masters: 1, TTL: time.Minute, MaxStaleness: time.Second, RefreshAfter: 2 * time.Second,
		IDSize: float64(len(session.NewID())), ValueSize: 17 + float64(len(newFixture(1).json[0])),
	}
	busy, writes, affine := base, base, base
	busy.Name, busy.Replicas, busy.Sessions, busy.Spread = "busy sessions, few writes", 3, 300, 3
	busy.Requests, busy.Writes, busy.Lifetime = 9, 0.01, 120
	writes.Name, writes.Replicas, writes.Sessions, writes.Spread = "many writes and deletes", 8, 500, 8
	writes.Requests, writes.Writes, writes.Lifetime = 2, 0.3, 10
	affine.Name, affine.Replicas, affine.Sessions, affine.Spread = "same replica for a session", 8, 1000, 1
	affine.Requests, affine.Writes, affine.Lifetime = 2, 0.1, 20
	return []workload{busy, writes, affine}
}

func confirmModel(ctx context.Context, c config, s *server) ([]modelRow, error) {
	var rows []modelRow
	for _, w := range settings() {
		measured, err := simulate(ctx, c, s, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		rows = append(rows, modelRow{Load: w, Predicted: w.cost(), Measured: measured})
	}
	return rows, nil
}

// simulation sends the requests of a workload to replicas of the library in this process.
type simulation struct {
	load     workload
	replicas []*session.RoutingStorage
	sessions []*session.Session
	random   *rand.Rand
}

func simulate(ctx context.Context, c config, s *server, w workload) (measured cost, err error) {
	sim := &simulation{
		load: w, sessions: make([]*session.Session, int(w.Sessions)),
		random: rand.New(rand.NewPCG(1, 2)), //nolint:gosec // nothing is secret
	}
	for range int(w.Replicas) {
		client := redis.NewClient(&redis.Options{Addr: s.addr})
		defer client.Close()
		r := session.NewRoutingStorage(session.NewRedisStorage(client, w.TTL), localEntries, quiet(),
			session.WithMaxStaleness(w.MaxStaleness), session.WithRefreshAfter(w.RefreshAfter))
		defer r.Close()
		sim.replicas = append(sim.replicas, r)
	}
	for i := range sim.sessions {
		if err := sim.create(ctx, i); err != nil {
			return measured, err
		}
	}
	// Run until the age of the entries is typical.
	if err := sim.run(ctx, min(3*w.RefreshAfter, c.simulate)); err != nil {
		return measured, err
	}
	before, err := sim.read(ctx, s)
	if err != nil {
		return measured, err
	}
	if err := sim.run(ctx, c.simulate); err != nil {
		return measured, err
	}
	after, err := sim.read(ctx, s)
	if err != nil {
		return measured, err
	}
	return after.since(before), nil
}

// run makes requests, writes and ends of sessions at random instants.
func (s *simulation) run(ctx context.Context, d time.Duration) error {
	w := s.load
	total := w.Sessions * (w.Requests + w.Writes + w.replaced())
	start := time.Now()
	for at := 0.0; at < d.Seconds(); at += s.random.ExpFloat64() / total {
		time.Sleep(time.Until(start.Add(time.Duration(at * float64(time.Second)))))
		i := s.random.IntN(len(s.sessions))
		if err := s.step(ctx, i, s.random.Float64()*(w.Requests+w.Writes+w.replaced())); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *simulation) step(ctx context.Context, i int, kind float64) error {
	switch w := s.load; {
	case kind < w.Requests:
		_, err := s.replica(i).Load(ctx, s.sessions[i].ID())
		return err
	case kind < w.Requests+w.Writes:
		return s.replica(i).Store(ctx, s.sessions[i])
	}
	if err := s.replica(i).Delete(ctx, s.sessions[i].ID()); err != nil {
		return err
	}
	return s.create(ctx, i)
}

func (s *simulation) create(ctx context.Context, i int) error {
	s.sessions[i] = newSession(session.NewID())
	return s.replica(i).Store(ctx, s.sessions[i])
}

// replica chooses the replica for the next request of a session.
func (s *simulation) replica(i int) *session.RoutingStorage {
	return s.replicas[(i+s.random.IntN(int(s.load.Spread)))%len(s.replicas)]
}

// reading is a reading of all counters.
type reading struct {
	at        time.Time
	calls     calls
	out, in   float64
	delivered uint64
	hits      uint64
	misses    uint64
	replicas  int
}

func (s *simulation) read(ctx context.Context, server *server) (r reading, err error) {
	r.at, r.replicas = time.Now(), len(s.replicas)
	if r.calls, err = server.calls(ctx); err != nil {
		return r, err
	}
	info, err := server.info(ctx, "stats")
	if err != nil {
		return r, err
	}
	if r.out, err = strconv.ParseFloat(info["total_net_output_bytes"], 64); err != nil {
		return r, err
	}
	if r.in, err = strconv.ParseFloat(info["total_net_input_bytes"], 64); err != nil {
		return r, err
	}
	for _, replica := range s.replicas {
		stats := replica.Stats()
		r.delivered += stats.Events
		r.hits += stats.Hits
		r.misses += stats.Misses
	}
	return r, nil
}

func (r reading) since(earlier reading) cost {
	seconds := r.at.Sub(earlier.at).Seconds()
	calls := r.calls.since(earlier.calls)
	rate := func(n int) float64 { return float64(n) / seconds }
	hits, misses := float64(r.hits-earlier.hits), float64(r.misses-earlier.misses)
	delivered := float64(r.delivered-earlier.delivered) / seconds
	published := delivered / float64(r.replicas)
	// Every script publishes once, except a load, which is the only one with GET, and those that renew sessions. These
	// call TIME once, and GETRANGE for each session. A store calls both once.
	loads := calls["get"]
	batches := calls["evalsha"] - calls["publish"] - loads
	revalidated := calls["getrange"] - (calls["time"] - batches)
	return cost{
		Loads:       rate(loads),
		Batches:     rate(batches),
		Revalidated: rate(revalidated),
		Scripts:     published,
		Heartbeats:  rate(calls["publish"]) - published,
		Published:   published,
		Delivered:   delivered,
		Out:         (r.out - earlier.out) / seconds,
		In:          (r.in - earlier.in) / seconds,
		Free:        1 - float64(loads+revalidated)/(hits+misses),
		AtOnce:      hits / (hits + misses),
	}
}
