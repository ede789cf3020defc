package redisstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// TestOwnLifetimes has values whose idle time is not the store's, after each operation that starts it anew.
func TestOwnLifetimes(t *testing.T) {
	t.Parallel()
	start := time.UnixMilli(1_800_000_000_000)
	for _, test := range []struct {
		name     string
		lifetime Lifetime
		// What is left after a use now, 50 s after the start, and what after one 10 s before that.
		used, earlier time.Duration
	}{
		{"the store's", Lifetime{}, time.Minute, 50 * time.Second},
		{"shorter", Lifetime{Idle: 20 * time.Second}, 20 * time.Second, 10 * time.Second},
		{"longer", Lifetime{Idle: time.Hour}, time.Hour, time.Hour - 10*time.Second},
		{"one millisecond", Lifetime{Idle: 1}, time.Millisecond, 0},
		{
			"shorter, until an end",
			Lifetime{20 * time.Second, start.Add(time.Minute)},
			10*time.Second - time.Millisecond, 10*time.Second - time.Millisecond,
		},
		{
			"an end only",
			Lifetime{-1, start.Add(90 * 24 * time.Hour)},
			90*24*time.Hour - 50*time.Second - time.Millisecond, 90*24*time.Hour - 50*time.Second - time.Millisecond,
		},
		{
			"an end only, soon",
			Lifetime{-1, start.Add(time.Minute)},
			10*time.Second - time.Millisecond, 10*time.Second - time.Millisecond,
		},
		{"longer than any key lives", Lifetime{Idle: 1<<63 - 1}, longest, longest - 10*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, s, log := onMiniredis(t)
			ctx := t.Context()
			ttl := func() time.Duration { return m.TTL(s.key(testID)) }
			hurry := func() { m.SetTTL(s.key(testID), time.Millisecond) } // a moment before it would be gone
			_, err := s.Unchanged(ctx, []Use{{ID: "warm-up", Revision: 1}})
			require.NoError(t, err)
			_, err = s.Get(ctx, "warm-up")
			require.Equal(t, ErrMissing, err)
			m.SetTime(start.Add(50 * time.Second))
			revision, err := s.Put(ctx, testID, Write{Lifetime: test.lifetime})
			require.NoError(t, err)
			require.Equal(t, test.used, ttl(), "after a put")

			hurry()
			log.Take()
			_, err = s.Get(ctx, testID)
			require.NoError(t, err)
			require.Equal(t, test.used, ttl(), "after a get")
			require.Equal(t, []string{"EVALSHA"}, log.Take())

			_, err = s.Peek(ctx, testID)
			require.NoError(t, err)
			require.Equal(t, test.used, ttl(), "a peek is no use")

			hurry()
			log.Take()
			unchanged, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: revision, Idle: 10 * time.Second}})
			require.NoError(t, err)
			require.Equal(t, []bool{test.earlier > 0}, unchanged)
			require.Equal(t, max(test.earlier, time.Millisecond), ttl(), "after an earlier use")
			require.Equal(t, []string{"EVALSHA"}, log.Take())
		})
	}
}

// TestLongestLifetimes has lifetimes that a real server must be able to count, and those that it would refuse.
func TestLongestLifetimes(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	ctx := t.Context()
	for i, l := range []Lifetime{
		{Idle: 1<<63 - 1},
		{Idle: -1, End: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{Idle: -1, End: time.Date(100_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{}, // with the store's
	} {
		s := storeOf(Config{Client: client, Prefix: testPrefix, TTL: 1<<63 - 1})
		id := fmt.Sprint("id", i)
		revision, err := s.Put(ctx, id, Write{Lifetime: l})
		require.NoError(t, err)
		_, err = s.Get(ctx, id)
		require.NoError(t, err)
		unchanged, err := s.Unchanged(ctx, []Use{{ID: id, Revision: revision, Idle: time.Hour}})
		require.NoError(t, err)
		require.Equal(t, []bool{true}, unchanged)
		left := client.PTTL(ctx, s.key(id)).Val()
		require.InDelta(t, longest, left, float64(time.Minute))
	}
}

func TestEndlessValuesAreRefused(t *testing.T) {
	t.Parallel()
	_, s, log := onMiniredis(t)
	for _, idle := range []time.Duration{-1, -time.Hour} {
		_, err := s.Put(t.Context(), testID, Write{Lifetime: Lifetime{Idle: idle}})
		require.Equal(t, errEndless, err)
	}
	require.Empty(t, log.Take())
}

func TestRoundingOfLifetimes(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int64{
		0: 0, 1: 1, time.Millisecond - 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 1<<63 - 1: 9223372036855,
	} {
		require.Equal(t, want, inMilliseconds(d), "%v", d)
	}
	require.Equal(t, "000000000002"+"000000000003",
		Lifetime{Idle: time.Millisecond + 1, End: time.Unix(0, 3_999_999)}.text())
	require.Equal(t, "ffffffffffff"+"000000000001", Lifetime{Idle: -1, End: time.Unix(-5, 0)}.text())
}
