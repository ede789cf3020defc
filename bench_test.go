package session_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

const benchSessions = 1000

func benchStorage(b *testing.B, entries int) (*session.RoutingStorage, []string) {
	b.Helper()
	st := session.NewRoutingStorage(session.NewMemoryStorage(time.Hour), entries, session.WithMaxStaleness(time.Hour))
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	ids := make([]string, benchSessions)
	for i := range ids {
		ids[i] = session.NewID()
		require.NoError(b, st.Store(b.Context(), session.New(ids[i]).With("backend_url", "http://10.0.0.7:8080/mcp")))
	}
	return st, ids
}

func benchLRU(b *testing.B, ids []string) *lru.Cache[string, *session.Session] {
	b.Helper()
	cache, err := lru.New[string, *session.Session](len(ids))
	require.NoError(b, err)
	for _, id := range ids {
		cache.Add(id, session.New(id))
	}
	return cache
}

// each calls f with the ids in turn, from one goroutine or from one per processor. Each goroutine begins at another id.
func each(b *testing.B, parallel bool, ids []string, f func(id string) bool) {
	b.Helper()
	b.ReportAllocs()
	if !parallel {
		for i := 0; b.Loop(); i++ {
			if !f(ids[i%len(ids)]) {
				b.Fatal("not found")
			}
		}
		return
	}
	// Not b.RunParallel: its counter in each goroutine may share a cache line with what f has captured.
	goroutines := runtime.GOMAXPROCS(0)
	var running sync.WaitGroup
	b.ResetTimer() // b.Loop resets it by itself
	for g := range goroutines {
		running.Go(func() {
			from := (g + 1) * len(ids) / 7
			for i := range (b.N + goroutines - 1) / goroutines {
				if !f(ids[(from+i)%len(ids)]) {
					b.Error("not found")
					return
				}
			}
		})
	}
	running.Wait()
}

// bothWays runs a benchmark with one goroutine, and with all processors.
func bothWays(b *testing.B, benchmark func(b *testing.B, parallel bool)) {
	b.Helper()
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%t", parallel), func(b *testing.B) { benchmark(b, parallel) })
	}
}

// BenchmarkHit has a row for golang-lru, for comparison.
func BenchmarkHit(b *testing.B) {
	bothWays(b, func(b *testing.B, parallel bool) {
		for _, entries := range []int{1024, 1 << 16} { // hardly more than the sessions, and many more
			b.Run(fmt.Sprintf("of=session/max=%d", entries), func(b *testing.B) {
				st, ids := benchStorage(b, entries)
				ctx := b.Context()
				each(b, parallel, ids, func(id string) bool {
					_, err := st.Load(ctx, id)
					return err == nil
				})
			})
		}
		b.Run("of=golang-lru", func(b *testing.B) {
			_, ids := benchStorage(b, benchSessions)
			cache := benchLRU(b, ids)
			each(b, parallel, ids, func(id string) bool {
				_, ok := cache.Get(id)
				return ok
			})
		})
	})
}

func BenchmarkMiss(b *testing.B) {
	bothWays(b, func(b *testing.B, parallel bool) {
		st, ids := benchStorage(b, benchSessions/20) // evicted long before they are asked for again
		ctx := b.Context()
		each(b, parallel, ids, func(id string) bool {
			_, err := st.Load(ctx, id)
			return err == nil
		})
	})
}

func BenchmarkStore(b *testing.B) {
	bothWays(b, func(b *testing.B, parallel bool) {
		st, ids := benchStorage(b, benchSessions)
		ctx := b.Context()
		each(b, parallel, ids, func(id string) bool {
			return st.Store(ctx, session.New(id)) == nil
		})
	})
}

// BenchmarkEvent measures changes of sessions that the storage does not have.
func BenchmarkEvent(b *testing.B) {
	bothWays(b, func(b *testing.B, parallel bool) {
		remote := session.NewMemoryStorage(time.Hour)
		st := session.NewRoutingStorage(remote, benchSessions)
		b.Cleanup(func() { require.NoError(b, st.Close()) })
		leased := func() bool { return st.Stats().Mode == session.ModeLeased }
		require.Eventually(b, leased, realtest.Patience, time.Millisecond)
		ctx := b.Context()
		each(b, parallel, []string{"not", "held"}, func(id string) bool {
			return remote.Store(ctx, session.New(id)) == nil
		})
	})
}
