package handle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

var shoes = basket{Items: []string{"shoes"}, Count: 1}

// onStorages runs a benchmark in memory, on a real Redis, and with a local tier in front of that. A short TTL keeps
// what is measured from being the growth of a map.
func onStorages(b *testing.B, ttl time.Duration, bench func(b *testing.B, baskets Owned[basket])) {
	run := func(name string, st session.Storage) {
		b.Run("storage="+name, func(b *testing.B) {
			b.ReportAllocs()
			bench(b, New[basket](st, "basket").For("alice"))
		})
	}
	server := redistest.Start(b)
	run("memory", session.NewMemoryStorage(ttl))
	run("redis", session.NewRedisStorage(server.Client(b), ttl))
	local := session.NewRoutingStorage(session.NewRedisStorage(server.Client(b), ttl), 1000)
	run("routing", local)
	require.NoError(b, local.Close())
}

func BenchmarkMint(b *testing.B) {
	onStorages(b, 100*time.Millisecond, func(b *testing.B, baskets Owned[basket]) {
		b.Helper()
		for b.Loop() {
			if _, err := baskets.Mint(b.Context(), shoes); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	onStorages(b, time.Hour, func(b *testing.B, baskets Owned[basket]) {
		b.Helper()
		h, err := baskets.Mint(b.Context(), shoes)
		require.NoError(b, err)
		for b.Loop() {
			if _, err := baskets.Load(b.Context(), h); err != nil {
				b.Fatal(err)
			}
		}
	})
}
