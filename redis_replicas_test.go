package session

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestWritesWaitForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	client := master.Client(t)
	st := NewRedisStorage(client, time.Minute, WithMinReplicas(1, 50*time.Millisecond))
	s := New(testID)
	require.ErrorIs(t, st.Store(t.Context(), s), ErrUnavailable, "there is no replica")
	require.ErrorIs(t, st.Create(t.Context(), New("another")), errTooFewReplicas)
	require.ErrorIs(t, st.Delete(t.Context(), testID), ErrUnavailable)
	require.Zero(t, s.Revision())

	replica := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	require.NoError(t, replica.Client(t).ReplicaOf(t.Context(), host, port).Err())
	require.Eventually(t, func() bool {
		return st.Store(t.Context(), New(testID)) == nil
	}, 20*time.Second, time.Millisecond)
	st = NewRedisStorage(client, time.Minute, WithMinReplicas(1, 2*time.Second)) // on a busy machine
	_, err = replica.Client(t).Get(t.Context(), "session:"+testID).Result()
	require.NoError(t, err, "the replica has what was acknowledged")
	require.NoError(t, st.Delete(t.Context(), testID))
}

func TestMinReplicasThroughAnUnknownClient(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { require.NoError(t, ring.Close()) }()
	st := NewRedisStorage(ring, time.Minute, WithMinReplicas(1, time.Second))
	require.ErrorIs(t, st.Store(t.Context(), New(testID)), ErrUnavailable)
	require.Panics(t, func() { WithMinReplicas(-1, time.Second) })
	require.Panics(t, func() { WithMinReplicas(1, 0) })
}
