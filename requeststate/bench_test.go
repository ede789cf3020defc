package requeststate

import (
	"testing"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// eachGuard runs a benchmark for all guards, in memory and on a real Redis. A short TTL keeps what is measured from
// being the growth of a map.
func eachGuard(b *testing.B, bench func(b *testing.B, g Guard)) {
	b.Helper()
	const ttl = 100 * time.Millisecond
	memory, remote := session.NewMemoryStorage(ttl), session.NewRedisStorage(redistest.Start(b).Client(b), ttl)
	keys := ring(b, "a")
	for _, row := range []struct {
		name  string
		guard Guard
	}{
		{"sealed", NewSealed(keys)},
		{"once/storage=memory", NewSealed(keys, Once(memory))},
		{"once/storage=redis", NewSealed(keys, Once(remote))},
		{"stored/storage=memory", NewStored(memory)},
		{"stored/storage=redis", NewStored(remote)},
	} {
		b.Run("guard="+row.name, func(b *testing.B) {
			b.ReportAllocs()
			bench(b, row.guard)
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	eachGuard(b, func(b *testing.B, g Guard) {
		b.Helper()
		for b.Loop() {
			if _, err := g.Seal(b.Context(), deploy(), []byte("state")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSealAndOpen has both, because most guards open a state only once.
func BenchmarkSealAndOpen(b *testing.B) {
	eachGuard(b, func(b *testing.B, g Guard) {
		b.Helper()
		for b.Loop() {
			requestState, err := g.Seal(b.Context(), deploy(), []byte("state"))
			if err == nil {
				_, err = g.Open(b.Context(), deploy(), requestState)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
