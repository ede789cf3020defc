package requeststate

import (
	"testing"
	"time"

	"github.com/seed34611480/session"
)

// BenchmarkSeal and BenchmarkOpen are over memory, with arguments as a tool has them.
func BenchmarkSeal(b *testing.B) {
	for name, g := range map[string]Guard{
		// It forgets at once: what is measured is not the growth of a map.
		"stored": NewStored(session.NewMemoryStorage(time.Millisecond)),
		"sealed": NewSealed(ring(b, "a")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Seal(b.Context(), deploy(), []byte("state")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	b.Run("sealed", func(b *testing.B) {
		g := NewSealed(ring(b, "a"))
		requestState, err := g.Seal(b.Context(), deploy(), []byte("state"))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := g.Open(b.Context(), deploy(), requestState); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stored, sealed before", func(b *testing.B) {
		g := NewStored(session.NewMemoryStorage(time.Hour))
		b.ReportAllocs()
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
