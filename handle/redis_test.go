package handle

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// TestNothingUsableInRedis looks at all that a thief of a dump would have.
func TestNothingUsableInRedis(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	baskets := New[basket](session.NewRedisStorage(client, time.Hour), "basket")
	var handles []string
	for range 20 {
		h, err := baskets.Mint(t.Context(), "https://issuer alice", basket{Count: 1})
		require.NoError(t, err)
		handles = append(handles, h)
	}
	var dump strings.Builder
	var keys []string
	for it := client.Scan(t.Context(), 0, "*", 100).Iterator(); it.Next(t.Context()); {
		keys = append(keys, it.Val())
		value, err := client.Get(t.Context(), it.Val()).Result()
		require.NoError(t, err)
		dump.WriteString(it.Val() + "\n" + value + "\n")
	}
	require.Len(t, keys, len(handles))
	for _, h := range handles {
		require.NotContains(t, dump.String(), h)
	}
	require.NotContains(t, dump.String(), "alice")
	for _, key := range keys {
		_, id, _ := strings.Cut(key, " ")
		_, err := baskets.Load(t.Context(), "https://issuer alice", id)
		require.ErrorIs(t, err, session.ErrNotFound, "what is in Redis is no handle")
	}
}

// TestThreeReplicas has a basket that is filled through three replicas in turn.
func TestThreeReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var replicas []*Store[basket]
	for range 3 {
		st := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), time.Hour), 100)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		replicas = append(replicas, New[basket](st, "basket"))
	}
	h, err := replicas[0].Mint(t.Context(), "alice", basket{})
	require.NoError(t, err)
	for i := range 30 {
		changed, err := replicas[i%3].Update(t.Context(), "alice", h, func(b *basket) error { b.Count++; return nil })
		require.NoError(t, err)
		require.Equal(t, i+1, changed.Count)
		_, err = replicas[(i+1)%3].Load(t.Context(), "mallory", h)
		require.ErrorIs(t, err, session.ErrNotFound)
	}
	taken, err := replicas[1].Take(t.Context(), "alice", h)
	require.NoError(t, err)
	require.Equal(t, 30, taken.Count)
	_, err = replicas[2].Take(t.Context(), "alice", h)
	require.ErrorIs(t, err, session.ErrNotFound)
}

func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	baskets := New[basket](session.NewRedisStorage(server.Client(t), time.Hour), "basket").For("alice")
	h, err := baskets.Mint(t.Context(), basket{})
	require.NoError(t, err)
	server.Kill()
	_, err = baskets.Load(t.Context(), h)
	require.ErrorIs(t, err, session.ErrUnavailable)
	require.NotErrorIs(t, err, session.ErrNotFound)
	_, err = baskets.Mint(t.Context(), basket{})
	require.ErrorIs(t, err, session.ErrUnavailable)
}
