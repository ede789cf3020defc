package redisstore

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestClusterWithoutMastersProvesNothing(t *testing.T) {
	t.Parallel()
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:        []string{"127.0.0.1:1"},
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return nil, nil },
	})
	defer func() { require.NoError(t, client.Close()) }()
	r := newRecorder()
	require.ErrorIs(t, newStore(client).Watch(t.Context(), testHeartbeat, r), errNoMasters)
	require.Empty(t, r.events)
	require.Empty(t, r.proofs)
}
