package redisstore

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func replicated(client redis.UniversalClient, timeout time.Duration) *Store {
	return New(Config{
		Client: client, Prefix: testPrefix, TTL: time.Minute, MinReplicas: 1, ReplicaTimeout: timeout,
	})
}

func TestWritesWaitForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	client := master.Client(t)
	s := replicated(client, 50*time.Millisecond)
	write := func(s *Store) error {
		_, err := s.Put(t.Context(), testID, nil, Always, noEnd)
		return err
	}
	require.ErrorIs(t, write(s), ErrTooFewReplicas, "there is no replica")
	_, err := s.Put(t.Context(), "another", nil, IfAbsent, noEnd)
	require.ErrorIs(t, err, ErrTooFewReplicas)
	_, _, err = s.Take(t.Context(), "absent")
	require.ErrorIs(t, err, ErrTooFewReplicas)
	require.ErrorIs(t, s.Delete(t.Context(), testID), ErrTooFewReplicas)

	replica := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	require.NoError(t, replica.Client(t).ReplicaOf(t.Context(), host, port).Err())
	require.Eventually(t, func() bool { return write(s) == nil }, 20*time.Second, time.Millisecond)
	s = replicated(client, 2*time.Second) // on a busy machine
	_, err = replica.Client(t).Get(t.Context(), s.key(testID)).Result()
	require.NoError(t, err, "the replica has what was acknowledged")
	require.NoError(t, s.Delete(t.Context(), testID))
}

func TestMinReplicasThroughAnUnknownClient(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { require.NoError(t, ring.Close()) }()
	require.ErrorIs(t, replicated(ring, time.Second).Delete(t.Context(), testID), errors.ErrUnsupported)
}
