package topology

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1)
	a := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	b := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	ids := realtest.IDsOnAllMasters(t, cluster, 2)
	realtest.RequireEventsFlow(t, ids, a, b)
	realtest.RequireShards(t, ids, a, b)
	victim := cluster.Master(t, realtest.KeyOf(ids[0]))
	requireFailover(t, failover{
		ids: ids, replicas: []*session.RoutingStorage{a, b}, victim: victim,
		replaced: func() bool { return cluster.Master(t, realtest.KeyOf(ids[0])) != victim },
	})
	realtest.RequireShards(t, ids, a, b)
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	requireSentinelFailover(t, sentinel,
		realtest.SentinelClient(t, sentinel), realtest.SentinelClient(t, sentinel))
}

// TestRoutingSentinelFailover has a replica whose client is made by NewFailoverClusterClient, beside an ordinary one.
func TestRoutingSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	inDatabase := func(o *redis.FailoverOptions) { o.DB = 3 }
	requireSentinelFailover(t, sentinel,
		realtest.SentinelClient(t, sentinel, inDatabase), realtest.RoutingSentinelClient(t, sentinel, inDatabase))
}

func requireSentinelFailover(t *testing.T, sentinel *redistest.Sentinel, clients ...redis.UniversalClient) {
	t.Helper()
	replicas := make([]*session.RoutingStorage, len(clients))
	for i, client := range clients {
		replicas[i] = realtest.Replica(t, client)
	}
	ids := []string{"one", "two", "three"}
	realtest.RequireEventsFlow(t, ids, replicas...)
	victim := sentinel.Master(t)
	requireFailover(t, failover{
		ids: ids, replicas: replicas, victim: victim,
		replaced: func() bool { return sentinel.Master(t) != victim },
	})
}

type failover struct {
	ids      []string // the victim has the first one
	replicas []*session.RoutingStorage
	victim   *redistest.Server
	replaced func() bool
}

// requireFailover kills a master under traffic. The replica of the master has every acknowledged write, so all promises
// have to hold.
func requireFailover(t *testing.T, f failover) {
	t.Helper()
	tr := realtest.StartTraffic(t, realtest.Staleness, f.ids, f.replicas...)
	tr.Await(t, 200)
	resume := tr.PauseWrites()
	realtest.AwaitReplicated(t, f.victim, f.ids[0])
	f.victim.Kill()
	killed := time.Now()
	resume()

	realtest.Await(t, "another master", f.replaced)
	replaced := time.Since(killed)
	realtest.RequireEventsFlow(t, f.ids, f.replicas...)
	recovered := time.Since(killed)
	tr.Await(t, 200)
	t.Logf("after the kill: another master %v, last error %v, events flow %v",
		replaced.Round(time.Millisecond), tr.LastErrorAfter(killed), recovered.Round(time.Millisecond))
	require.Positive(t, tr.Counts().FailedWrites, "the failover had no effect")
	tr.RequireRight(t)
}

// TestFenceOnACluster deletes sessions on all masters, and sends the next request to another replica after one fence.
func TestFenceOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	a := realtest.Replica(t, realtest.ClusterClient(t, cluster), session.WithFencing())
	b := realtest.Replica(t, realtest.ClusterClient(t, cluster), session.WithFencing())
	ids := realtest.IDsOnAllMasters(t, cluster, 2)
	realtest.RequireEventsFlow(t, ids, a, b)
	early := func() bool {
		start := time.Now()
		require.NoError(t, a.Fence(t.Context()))
		return time.Since(start) < realtest.Staleness/2
	}
	realtest.Await(t, "fences to return early", early)
	quick := 0
	for range 300 {
		for _, id := range ids {
			require.NoError(t, a.Store(t.Context(), session.New(id)))
			_, err := b.Load(t.Context(), id)
			require.NoError(t, err)
			_, err = b.Load(t.Context(), id)
			require.NoError(t, err)
		}
		for _, id := range ids {
			require.NoError(t, a.Delete(t.Context(), id))
		}
		if early() {
			quick++
		}
		for _, id := range ids {
			_, err := b.Load(t.Context(), id)
			require.ErrorIs(t, err, session.ErrNotFound)
		}
	}
	t.Logf("%d of 300 fences returned early", quick)
	require.Greater(t, quick, 150)
	silent := cluster.Master(t, realtest.KeyOf(ids[0]))
	silent.Pause()
	require.False(t, early(), "one master is silent")
	silent.Continue()
}

func TestHeartbeatsCoverAllMasters(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig("cluster-require-full-coverage no"))
	client := realtest.ClusterClient(t, cluster)
	st := realtest.Replica(t, client)
	ids := realtest.IDsOnAllMasters(t, cluster, 1)
	for i, id := range ids {
		realtest.RequireEventsFlow(t, ids, st, st)
		silent := cluster.Master(t, realtest.KeyOf(id))
		silent.Pause()
		paused := time.Now()
		for time.Since(paused) <= realtest.Staleness {
			time.Sleep(time.Until(paused.Add(realtest.Staleness + time.Millisecond)))
		}
		require.Equal(t, session.ModeBoundedAge, st.Stats().Mode, "one master is silent")
		require.Greater(t, st.Stats().ProofAge, realtest.Staleness)
		other := realtest.SameSlot(ids[(i+1)%len(ids)], "while another master is silent")
		realtest.Await(t, "another master to serve", func() bool {
			return st.Store(t.Context(), session.New(other)) == nil
		})
		silent.Continue()
	}
	realtest.RequireEventsFlow(t, ids, st, st)
}

func TestSlotMigration(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	a := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	b := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	ids := realtest.IDsOnAllMasters(t, cluster, 2)
	realtest.RequireEventsFlow(t, ids, a, b)
	realtest.RequireShards(t, ids, a, b)
	moving := []string{ids[0], realtest.SameSlot(ids[0], "2"), realtest.SameSlot(ids[0], "3")}
	tr := realtest.StartTraffic(t, realtest.Staleness, append(ids, moving[1:]...), a, b)
	tr.Await(t, 200)
	from, to := cluster.Master(t, realtest.KeyOf(ids[0])), cluster.Master(t, realtest.KeyOf(ids[1]))
	realtest.MigrateSlot(t, cluster, from, to, realtest.KeyOf(ids[0]), func() { tr.Await(t, 200) })
	realtest.Await(t, "all nodes to know the new master", func() bool {
		return cluster.Master(t, realtest.KeyOf(ids[0])) == to
	})
	tr.Await(t, 200)
	realtest.RequireEventsFlow(t, ids, a, b)
	tr.RequireRight(t)
	require.Zero(t, tr.Counts().Failed(), "a migration of a slot must not cause errors")
}

// TestAtomicSlotMigration moves the slot of a session, and that of the shard channel that carries its events. It uses
// the one command of newer servers, which redirects no single keys.
func TestAtomicSlotMigration(t *testing.T) {
	t.Parallel()
	redistest.SkipBefore(t, realtest.AtomicMigration, "a slot moves key by key")
	cluster := redistest.StartCluster(t, 3, 0)
	a := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	b := realtest.Replica(t, realtest.ClusterClient(t, cluster))
	ids := realtest.IDsOnAllMasters(t, cluster, 2)
	realtest.RequireEventsFlow(t, ids, a, b)
	realtest.RequireShards(t, ids, a, b)
	tr := realtest.StartTraffic(t, realtest.Staleness, append(ids, realtest.SameSlot(ids[0], "2")), a, b)
	for _, key := range []string{realtest.KeyOf(ids[0]), realtest.ShardChannelKey(ids[0])} {
		from, to := cluster.Master(t, key), cluster.Master(t, realtest.KeyOf(ids[1]))
		if from == to {
			to = cluster.Master(t, realtest.KeyOf(ids[2]))
		}
		tr.Await(t, 200)
		realtest.MigrateAtomically(t, from, to, key)
		realtest.Await(t, "the new master", func() bool { return cluster.Master(t, key) == to })
		tr.Await(t, 200)
		realtest.RequireEventsFlow(t, ids, a, b)
		realtest.RequireShards(t, ids, a, b)
	}
	tr.RequireRight(t)
	require.Zero(t, tr.Counts().Failed(), "a migration of a slot must not cause errors")
}
