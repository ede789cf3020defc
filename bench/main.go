// Bench compares the library with the alternatives in use today, on a real redis-server that it starts itself. It
// writes RESULTS.md and the charts beside it:
//
//	go run -C bench .
//
// All designs are measured in one run, in turns: in each round, each gets one turn or more. A disturbance on the
// machine hits all of them alike, and ratios are taken within a round.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"
)

const defaultRounds = 5

// config sets how long to measure. Longer runs change the spread, not the result.
type config struct {
	quick    bool
	out      string
	rounds   int
	turns    int           // of each design, in a round
	slot     time.Duration // for one design, in one turn
	entries  []int         // sizes of the local tiers whose memory is measured
	speed    int           // how many times faster than the clock the steady workload runs
	requests time.Duration // for one proxy, in one round
	simulate time.Duration // for one setting of the cost model
	events   int           // number of events to broadcast
	pressure pressureTimes
	final    finalTimes
}

func main() {
	var c config
	flag.BoolVar(&c.quick, "quick", false, "a few seconds, only to see that everything works; the numbers mean nothing")
	flag.StringVar(&c.out, "out", ".", "the folder to write to")
	flag.IntVar(&c.rounds, "rounds", defaultRounds, "number of rounds in which each design is measured")
	flag.Parse()
	c.fill()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func (c *config) fill() {
	c.turns, c.slot, c.requests, c.simulate = 10, 30*time.Millisecond, time.Second, 15*time.Second
	c.entries, c.speed, c.events = []int{1024, 10_000, 1_000_000}, 15, 200_000
	c.final = finalTimes{[]int{2, 10, 50}, 300 * time.Millisecond}
	c.pressure = pressureTimes{
		rounds: min(c.rounds, 3), early: 5 * time.Second, late: 7 * time.Second, pause: 5 * time.Second,
	}
	if c.quick {
		c.rounds = min(c.rounds, 2)
		c.turns, c.slot, c.requests, c.simulate = 1, 5*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond
		c.entries, c.speed, c.events = []int{1_000, 10_000}, 300, 10_000
		c.final = finalTimes{[]int{2, 5}, 50 * time.Millisecond}
		c.pressure = pressureTimes{rounds: 1, early: time.Second, late: time.Second, pause: time.Second}
	}
}

// run measures everything and writes the report.
func run(ctx context.Context, c config) error {
	server, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer server.close()

	r := &results{config: c, Started: time.Now(), Machine: describeMachine(server)}
	keys := newFixture(1000)
	steps := []struct {
		name string
		run  func() error
	}{
		{"hits", func() (err error) { r.Hits, err = measureHits(ctx, c, server, keys); return err }},
		{"misses and stores", func() (err error) { r.Remote, err = measureRemote(ctx, c, server, keys); return err }},
		{"memory", func() (err error) { r.Memory, err = measureMemory(ctx, c); return err }},
		{"Redis commands", func() (err error) { r.Steady, err = measureSteady(ctx, c, server, keys); return err }},
		{"proxy", func() (err error) { r.Proxy, err = measureProxy(ctx, c, server, keys); return err }},
		{"broadcast", func() (err error) { r.Broadcast, err = measureBroadcast(ctx, c, server); return err }},
		{"final deletes", func() (err error) { r.Final, err = measureFinal(ctx, c, server); return err }},
		{"pressure", func() (err error) { r.Pressure, err = measurePressure(ctx, c); return err }},
		{"cost model", func() (err error) { r.Model, err = confirmModel(ctx, c, server); return err }},
	}
	for _, step := range steps {
		slog.Info("bench: measuring", "what", step.name)
		if err := server.reset(ctx); err != nil {
			return err
		}
		if err := step.run(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return r.write()
}
