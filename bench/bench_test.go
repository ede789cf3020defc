package main

import (
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestQuick runs all of it for a moment: competitors return the right sessions, and a report is written.
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

// TestModelAtItsLimits checks the formula where the answer is known without it.
func TestModelAtItsLimits(t *testing.T) {
	w := workload{
		Replicas: 1, Masters: 1, Sessions: 1, Spread: 1, Requests: 1e6, Writes: 1e-9, Lifetime: 1e9,
		MaxStaleness: time.Second, RefreshAfter: time.Minute,
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if got < 0.99*want || got > 1.01*want {
			t.Errorf("%s: %v loads per second, want %v", what, got, want)
		}
	}
	near("a busy session is loaded once per RefreshAfter", w.loadRate(), 1.0/60)
	w.Requests = 1e-6
	near("an idle one once per request", w.loadRate(), 1e-6)
	w.Requests, w.Spread, w.Writes = 1e3, 1e3, 1e4
	near("one that others write all the time, too", w.loadRate(), 1)
}

// BenchmarkHit is what the program measures first, for go test's tools.
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
			if _, err := o.warm(keys); err != nil {
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
