package secrecy

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// bothWays runs a benchmark with plain ids and values, and with hashed ids and sealed values.
func bothWays(b *testing.B, benchmark func(b *testing.B, remote *session.RedisStorage)) {
	b.Helper()
	ring, _ := newRing(b)
	for name, opts := range map[string][]session.RedisOption{
		"plain":  nil,
		"hashed": {session.WithHashedIDs(), session.WithCodec(session.NewSealedCodec(ring, nil))},
	} {
		b.Run("ids="+name, func(b *testing.B) {
			client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(b).Addr()})
			defer func() { require.NoError(b, client.Close()) }()
			benchmark(b, session.NewRedisStorage(client, time.Hour, opts...))
		})
	}
}

func routed(b *testing.B, remote *session.RedisStorage) *session.RoutingStorage {
	b.Helper()
	st := session.NewRoutingStorage(remote, 1000)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	realtest.Await(b, "events", func() bool { return st.Stats().Mode == session.ModeLeased })
	return st
}

func BenchmarkHit(b *testing.B) {
	bothWays(b, func(b *testing.B, remote *session.RedisStorage) {
		st, s := routed(b, remote), session.New(session.NewID()).With("backend_url", "http://10.0.0.7:8080/mcp")
		require.NoError(b, st.Store(b.Context(), s))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := st.Load(b.Context(), s.ID()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStore includes the event, which a replica receives.
func BenchmarkStore(b *testing.B) {
	bothWays(b, func(b *testing.B, remote *session.RedisStorage) {
		st, s := routed(b, remote), session.New(session.NewID()).With("backend_url", "http://10.0.0.7:8080/mcp")
		n := uint64(0)
		for b.Loop() {
			require.NoError(b, remote.Store(b.Context(), s))
			n++
		}
		realtest.Await(b, "the events", func() bool { return st.Stats().Events >= n })
	})
}
