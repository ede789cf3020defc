package requeststate

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// TestOnRedis has states that are opened on three replicas at a time.
func TestOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	keys := ring(t, "a")
	for name, guard := range map[string]func() Guard{
		"stored": func() Guard { return NewStored(session.NewRedisStorage(server.Client(t), time.Hour)) },
		"once": func() Guard {
			return NewSealed(keys, Once(session.NewRedisStorage(server.Client(t), time.Hour)))
		},
	} {
		replicas := []Guard{guard(), guard(), guard()}
		for range 50 {
			requestState, err := replicas[0].Seal(t.Context(), deploy(), []byte("state"))
			require.NoError(t, err)
			b := deploy()
			b.Principal = "mallory"
			_, err = replicas[1].Open(t.Context(), b, requestState)
			requireRejected(t, err, name)
			var opened atomic.Int64
			var calls sync.WaitGroup
			for _, g := range replicas {
				calls.Go(func() {
					if _, err := g.Open(t.Context(), deploy(), requestState); err == nil {
						opened.Add(1)
					}
				})
			}
			calls.Wait()
			require.EqualValues(t, 1, opened.Load(), name)
		}
	}
}

func TestNothingUsableInRedis(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	st := session.NewRedisStorage(client, time.Hour)
	stored, once := NewStored(st), NewSealed(ring(t, "a"), Once(st))
	mine, err := stored.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	used, err := once.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	_, err = once.Open(t.Context(), deploy(), used)
	require.NoError(t, err)
	found := 0
	for it := client.Scan(t.Context(), 0, "*", 100).Iterator(); it.Next(t.Context()); found++ {
		value, err := client.Get(t.Context(), it.Val()).Result()
		require.NoError(t, err)
		for _, secret := range []string{mine, used, "alice"} {
			require.NotContains(t, it.Val()+value, secret)
		}
		_, id, _ := strings.Cut(it.Val(), " ")
		_, err = stored.Open(t.Context(), deploy(), id)
		requireRejected(t, err, "what is in Redis is no requestState")
		ttl, err := client.PTTL(t.Context(), it.Val()).Result()
		require.NoError(t, err)
		require.LessOrEqual(t, ttl, defaultLifetime+clockMargin)
		require.Positive(t, ttl)
	}
	require.Equal(t, 2, found)
}

func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	st := session.NewRedisStorage(server.Client(t), time.Hour)
	stored, once := NewStored(st), NewSealed(ring(t, "a"), Once(st))
	first, err := stored.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	second, err := once.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	server.Kill()
	_, err = stored.Open(t.Context(), deploy(), first)
	require.ErrorIs(t, err, session.ErrUnavailable)
	_, err = once.Open(t.Context(), deploy(), second)
	require.ErrorIs(t, err, session.ErrUnavailable, "it is not opened without a record")
	_, err = stored.Seal(t.Context(), deploy(), nil)
	require.ErrorIs(t, err, session.ErrUnavailable)
	_, err = once.Seal(t.Context(), deploy(), nil)
	require.NoError(t, err, "needs no storage")
}
