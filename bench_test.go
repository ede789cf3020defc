package session_test

import (
	"fmt"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
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

// each calls f with the ids in turn, from one goroutine, or from all processors.
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
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if !f(ids[i%len(ids)]) {
				b.Error("not found")
				return
			}
		}
	})
}

// BenchmarkHit has a row for golang-lru, for comparison.
func BenchmarkHit(b *testing.B) {
	for _, parallel := range []bool{false, true} {
		for _, entries := range []int{1024, 1 << 16} { // exact and approximate eviction order
			b.Run(fmt.Sprintf("parallel=%t/of=session/max=%d", parallel, entries), func(b *testing.B) {
				st, ids := benchStorage(b, entries)
				ctx := b.Context()
				each(b, parallel, ids, func(id string) bool {
					_, err := st.Load(ctx, id)
					return err == nil
				})
			})
		}
		b.Run(fmt.Sprintf("parallel=%t/of=golang-lru", parallel), func(b *testing.B) {
			_, ids := benchStorage(b, benchSessions)
			cache := benchLRU(b, ids)
			each(b, parallel, ids, func(id string) bool {
				_, ok := cache.Get(id)
				return ok
			})
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	remote := session.NewMemoryStorage(time.Hour)
	st := session.NewRoutingStorage(remote, 1)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	ids := []string{"first", "second"} // each evicts the other
	for _, id := range ids {
		require.NoError(b, remote.Store(b.Context(), session.New(id)))
	}
	ctx := b.Context()
	each(b, false, ids, func(id string) bool {
		_, err := st.Load(ctx, id)
		return err == nil
	})
}

func BenchmarkStore(b *testing.B) {
	st, ids := benchStorage(b, benchSessions)
	ctx := b.Context()
	each(b, false, ids, func(id string) bool {
		return st.Store(ctx, session.New(id)) == nil
	})
}

func BenchmarkEvent(b *testing.B) {
	remote := session.NewMemoryStorage(time.Hour)
	st := session.NewRoutingStorage(remote, benchSessions)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	s := session.New("somebody-else's")
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, remote.Store(b.Context(), s))
	}
}
