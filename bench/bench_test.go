package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestQuick runs every measurement for a moment: competitors return the right sessions, and a report is written.
func TestQuick(t *testing.T) {
	c := config{quick: true, rounds: 1, out: t.TempDir()}
	c.fill()
	if err := run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RESULTS.md", "latency.svg", "commands.svg"} {
		if info, err := os.Stat(filepath.Join(c.out, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestModelAtItsLimits checks the formulas where the answer is obvious without them.
func TestModelAtItsLimits(t *testing.T) {
	w := workload{
		Replicas: 1, Masters: 1, Sessions: 1, Spread: 1, Requests: 1e6, Writes: 1e-9, Lifetime: 1e9,
		MaxStaleness: time.Second, RefreshAfter: time.Minute, TTL: 10 * time.Minute,
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01*want {
			t.Errorf("%s: %v per second, want %v", what, got, want)
		}
	}
	misses, refreshes := w.askRates()
	near("a busy session is renewed once per RefreshAfter", refreshes, 1.0/60)
	near("... and is never missed", misses+refreshes, 1.0/60)
	w.Requests = 1e-6
	misses, refreshes = w.askRates()
	near("an idle session is asked for at each request", misses+refreshes, 1e-6)
	near("... because its entry has expired", misses, 1e-6)
	w.Requests, w.Spread, w.Writes = 1e3, 1e3, 1e4
	misses, _ = w.askRates()
	near("so is a session that other replicas write all the time", misses, 1)

	near("sessions are rarely due together", w.batches(1e-6), 1e-6)
	near("or so many that they fill each batch", w.batches(1e6), 1e6/64)
	w.Masters = 2
	near("but not on a Cluster", w.batches(1e6), 1e6)
}

// BenchmarkHit measures hits, like the program, but for go test's tools.
func BenchmarkHit(b *testing.B) {
	server, err := startRedis(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.close)
	keys := newFixture(1000)
	if err := keys.seed(b.Context(), server.admin); err != nil {
		b.Fatal(err)
	}
	for _, d := range designs() {
		b.Run(d.name, func(b *testing.B) {
			o, err := d.open(b.Context(), env{server: server, keys: keys, speed: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer o.close()
			if err := warm([]loader{o.loader()}, keys); err != nil {
				b.Fatal(err)
			}
			var goroutines atomic.Int32
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				load, sequence := o.loader(), order(len(keys.ids), int(goroutines.Add(1)))
				for i := 0; pb.Next(); i++ {
					if err := load(sequence[i%len(sequence)]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
