package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	m, s, log := onMiniredis(t)
	_, err := s.Peek(t.Context(), testID)
	require.Equal(t, ErrMissing, err)
	require.Empty(t, m.Keys())
	revision := put(t, s, testID)
	log.Take()
	for range 3 {
		m.FastForward(10 * time.Second)
		left := m.TTL("app: " + testID)
		v, err := s.Peek(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, Value{Data: []byte("data"), Revision: revision}, v)
		require.Equal(t, left, m.TTL("app: "+testID))
	}
	require.Equal(t, []string{"EVALSHA", "EVALSHA", "EVALSHA"}, log.Take())

	require.NoError(t, m.Set("app: text", "hello"))
	_, err = s.Peek(t.Context(), "text")
	require.ErrorIs(t, err, ErrCorrupt)
	require.Zero(t, m.TTL("app: text"), "what has no TTL gets none")
	_, err = m.Lpush("app: list", "x")
	require.NoError(t, err)
	_, err = s.Peek(t.Context(), "list")
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestPeekOnAServerThatTakesNoWrites: what a replica has may be old, and "none" on it is no answer.
func TestPeekOnAServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := newStore(client)
	ctx := t.Context()
	put(t, s, testID)
	server.Shift(t, 10*time.Second)
	for range 100 {
		_, err := s.Peek(ctx, testID)
		require.NoError(t, err)
	}
	require.Less(t, client.PTTL(ctx, s.key(testID)).Val(), 50*time.Second+100*time.Millisecond)

	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	_, err := s.Peek(ctx, testID)
	require.NoError(t, err, "a full server is asked like any other")
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())

	require.NoError(t, client.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	for _, id := range []string{testID, "missing"} {
		_, err := s.Peek(ctx, id)
		require.ErrorContains(t, err, "READONLY")
	}
}
