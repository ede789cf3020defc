package redisstore

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func replicated(client redis.UniversalClient, timeout time.Duration) *Store {
	return storeOf(Config{
		Client: client, Prefix: testPrefix, TTL: time.Minute, MinReplicas: 1, ReplicaTimeout: timeout,
	})
}

func TestWritesWaitForReplicas(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	client := master.Client(t)
	s := replicated(client, 50*time.Millisecond)
	write := func(s *Store) error {
		_, err := s.Put(t.Context(), testID, Write{})
		return err
	}
	require.ErrorIs(t, write(s), ErrTooFewReplicas, "there is no replica")
	_, err := s.Put(t.Context(), "another", Write{Condition: IfAbsent})
	require.ErrorIs(t, err, ErrTooFewReplicas)
	_, _, err = s.Take(t.Context(), "absent")
	require.ErrorIs(t, err, ErrTooFewReplicas)
	require.ErrorIs(t, s.Delete(t.Context(), testID), ErrTooFewReplicas)

	replica := redistest.Start(t).Client(t)
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	require.NoError(t, replica.ReplicaOf(t.Context(), host, port).Err())
	// Valkey 9 counts a replica for WAIT before the replica has loaded the data that it can be asked for.
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return write(s) == nil }, 20*time.Second, time.Millisecond)
	s = replicated(client, 2*time.Second) // on a busy machine
	_, err = replica.Get(t.Context(), s.key(testID)).Result()
	require.NoError(t, err, "the replica has what was acknowledged")
	require.NoError(t, s.Delete(t.Context(), testID))
}

// TestReplicatedWritesFollowAFailover plans a failover under a client that asks for the topology once a minute.
func TestReplicatedWritesFollowAFailover(t *testing.T) {
	t.Parallel()
	redistest.SkipBefore(t, "6.2.8", "clients stay paused for ten seconds after a planned failover")
	cluster := redistest.StartCluster(t, 3, 1)
	client := cluster.Client(t, func(o *redis.ClusterOptions) { o.ClusterStateReloadInterval = time.Hour })
	s := replicated(client, 5*time.Second)
	_, err := s.Put(t.Context(), testID, Write{})
	require.NoError(t, err)
	old := cluster.Master(t, s.key(testID))
	var replica *redistest.Server
	for _, node := range cluster.Nodes[3:] {
		info := node.Client(t).Info(t.Context(), "replication").Val()
		_, port, err := net.SplitHostPort(old.Addr())
		require.NoError(t, err)
		if strings.Contains(info, "master_port:"+port) {
			replica = node
		}
	}
	require.NoError(t, replica.Client(t).ClusterFailover(t.Context()).Err())
	promoted := func() bool { return cluster.Master(t, s.key(testID)) == replica }
	require.Eventually(t, promoted, 20*time.Second, time.Millisecond)
	cluster.Await(t)
	for range 3 {
		_, err = s.Put(t.Context(), testID, Write{})
		require.NoError(t, err)
	}
}

// TestReplicatedWriteWhileASlotMoves writes values that are not on the master that hands their slot over.
func TestReplicatedWriteWhileASlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1)
	s := replicated(cluster.Client(t), 5*time.Second)
	revision := put(t, s, "{tag}moved")
	from, to := cluster.Master(t, s.key("{tag}")), cluster.Master(t, s.key("{other}"))
	require.NotEqual(t, from, to)
	beginMove(t, from, to, s.key("{tag}moved"))
	ctx := t.Context()
	put(t, s, "{tag}new")
	_, err := s.Put(ctx, "{tag}moved", Write{Data: []byte("data"), Condition: IfRevision(revision)})
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, "{tag}moved"))
	require.NoError(t, s.Delete(ctx, "{tag}new"))
}
