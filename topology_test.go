package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// What is promised holds on a Cluster and behind Sentinel as it does on one server, also while masters go and come.

const (
	topologyStaleness = 600 * time.Millisecond
	topologyTTL       = 10 * time.Minute // so long that no refresh brings what an event should
	recovery          = 30 * time.Second // for a machine under load; usually it is one or two
)

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 1)
	a, b := replicaOn(t, clusterClient(t, cluster)), replicaOn(t, clusterClient(t, cluster))
	ids := idsOnAllMasters(t, cluster, 2)
	requireFlowing(t, ids, a, b)
	victim := cluster.Master(t, keyOf(ids[0]))
	requireFailover(t, failover{
		ids: ids, replicas: []*session.RoutingStorage{a, b}, victim: victim,
		replaced: func() bool { return cluster.Master(t, keyOf(ids[0])) != victim },
	})
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	a, b := replicaOn(t, sentinelClient(t, sentinel)), replicaOn(t, sentinelClient(t, sentinel))
	ids := []string{"one", "two", "three"}
	requireFlowing(t, ids, a, b)
	victim := sentinel.Master(t)
	requireFailover(t, failover{
		ids: ids, replicas: []*session.RoutingStorage{a, b}, victim: victim,
		replaced: func() bool { return sentinel.Master(t) != victim },
	})
}

type failover struct {
	ids      []string // the first one is the victim's
	replicas []*session.RoutingStorage
	victim   *redistest.Server
	replaced func() bool
}

// requireFailover kills a master under traffic. It has no acknowledged write to lose: what is promised is then promised
// without exception.
func requireFailover(t *testing.T, f failover) {
	t.Helper()
	tr := startCheckedTraffic(t, topologyStaleness, f.ids, f.replicas...)
	tr.await(t, 200)
	resume := tr.pauseWrites()
	replicate(t, f.victim, f.ids[0])
	f.victim.Kill()
	killed := time.Now()
	resume()

	await(t, "another master", f.replaced)
	replaced := time.Since(killed)
	requireFlowing(t, f.ids, f.replicas...)
	recovered := time.Since(killed)
	tr.await(t, 200)
	t.Logf("after the kill: another master %v, last error %v, events flow %v",
		replaced.Round(time.Millisecond), tr.failingUntil(killed), recovered.Round(time.Millisecond))
	require.Positive(t, tr.failedWrites.Load(), "the failover went unnoticed")
	tr.requireSound(t)
}

// replicate waits until the replicas of a master have all that it has acknowledged. A connection waits for its own last
// write.
func replicate(t *testing.T, master *redistest.Server, id string) {
	t.Helper()
	conn := master.Client(t).Conn()
	defer func() { require.NoError(t, conn.Close()) }()
	require.NoError(t, conn.Set(t.Context(), keyOf(neighbor(id, "marker")), "", time.Minute).Err())
	replicas, err := conn.Wait(t.Context(), 1, recovery).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, replicas)
}

func TestHeartbeatsCoverAllMasters(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig("cluster-require-full-coverage no"))
	client := clusterClient(t, cluster)
	st := replicaOn(t, client)
	ids := idsOnAllMasters(t, cluster, 1)
	for i, id := range ids {
		requireFlowing(t, ids, st, st)
		silent := cluster.Master(t, keyOf(id))
		silent.Pause()
		paused := time.Now()
		for time.Since(paused) <= topologyStaleness {
			time.Sleep(time.Until(paused.Add(topologyStaleness + time.Millisecond)))
		}
		require.Equal(t, session.ModeBoundedAge, st.Stats().Mode, "one master is silent")
		require.Greater(t, st.Stats().ProofAge, topologyStaleness)
		other := neighbor(ids[(i+1)%len(ids)], "while another master is silent")
		await(t, "service by another master", func() bool { return st.Store(t.Context(), session.New(other)) == nil })
		silent.Continue()
	}
	requireFlowing(t, ids, st, st)
}

func TestSlotMigration(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	a, b := replicaOn(t, clusterClient(t, cluster)), replicaOn(t, clusterClient(t, cluster))
	ids := idsOnAllMasters(t, cluster, 2)
	requireFlowing(t, ids, a, b)
	moving := []string{ids[0], neighbor(ids[0], "2"), neighbor(ids[0], "3")}
	tr := startCheckedTraffic(t, topologyStaleness, append(ids, moving[1:]...), a, b)
	tr.await(t, 200)
	from, to := cluster.Master(t, keyOf(ids[0])), cluster.Master(t, keyOf(ids[1]))
	migrateSlot(t, cluster, from, to, keyOf(ids[0]), func() { tr.await(t, 200) })
	await(t, "all to know the new master", func() bool { return cluster.Master(t, keyOf(ids[0])) == to })
	tr.await(t, 200)
	requireFlowing(t, ids, a, b)
	tr.requireSound(t)
	require.Zero(t, tr.failedWrites.Load()+tr.failedLoads.Load(), "a slot that moves is no outage")
}

// migrateSlot moves a key's slot with all keys in it, the way redis-cli does. Half-way, when keys are on either side
// and clients are redirected for each, it calls f.
func migrateSlot(t *testing.T, c *redistest.Cluster, from, to *redistest.Server, key string, f func()) {
	t.Helper()
	ctx := t.Context()
	source, target := from.Client(t), to.Client(t)
	slot := int(source.ClusterKeySlot(ctx, key).Val())
	sourceID, targetID := source.ClusterMyID(ctx).Val(), target.ClusterMyID(ctx).Val()
	require.NoError(t, target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID).Err())
	require.NoError(t, source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID).Err())
	for moved := false; ; moved = true {
		keys, err := source.ClusterGetKeysInSlot(ctx, slot, 1).Result()
		require.NoError(t, err)
		if len(keys) == 0 {
			break
		}
		host, port := hostPort(t, to)
		require.NoError(t, source.Migrate(ctx, host, port, keys[0], 0, recovery).Err()) // NOKEY is no error
		if !moved {
			f()
		}
	}
	f()
	for _, node := range []*redis.Client{target, source} {
		require.NoError(t, node.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", targetID).Err())
	}
	c.Await(t)
}

// requireFlowing waits until all replicas are leased, and a change through the first is seen by the others sooner than
// anything but an event could tell them. It tries next to each of the given sessions.
func requireFlowing(t *testing.T, ids []string, replicas ...*session.RoutingStorage) {
	t.Helper()
	for _, id := range ids {
		probe := neighbor(id, "probe")
		err := errors.New("not tried")
		defer func() {
			if err != nil {
				t.Log("events do not flow: ", err)
			}
		}()
		await(t, "events to flow", func() bool {
			for _, st := range replicas {
				if st.Stats().Mode != session.ModeLeased {
					err = fmt.Errorf("mode %s, last proof %v ago", st.Stats().Mode, st.Stats().ProofAge)
					return false
				}
			}
			err = changeIsSeen(t.Context(), probe, replicas[0], replicas[1])
			return err == nil
		})
	}
}

// changeIsSeen stores a session through a and waits until b, which has a copy, knows. By its age alone, the copy
// would live longer than this waits.
func changeIsSeen(ctx context.Context, id string, a, b *session.RoutingStorage) error {
	s := session.New(id)
	if err := a.Store(ctx, s); err != nil {
		return err
	}
	if _, err := b.Load(ctx, id); err != nil {
		return err
	}
	s = s.With("changed", "yes")
	if err := a.Store(ctx, s); err != nil {
		return err
	}
	for stored := time.Now(); time.Since(stored) < topologyStaleness/3; time.Sleep(100 * time.Microsecond) {
		if seen, err := b.Load(ctx, id); err != nil || seen.Revision() == s.Revision() {
			return err
		}
	}
	return errors.New("a change is not seen")
}

func replicaOn(
	t *testing.T, client redis.UniversalClient, opts ...session.RoutingOption,
) *session.RoutingStorage {
	t.Helper()
	st := session.NewRoutingStorage(session.NewRedisStorage(client, topologyTTL), 1000,
		append(opts, session.WithMaxStaleness(topologyStaleness))...)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// The clients are set up as docs/operations.md recommends.

func clusterClient(
	t *testing.T, cluster *redistest.Cluster, change ...func(*redis.ClusterOptions),
) *redis.ClusterClient {
	t.Helper()
	return cluster.Client(t, append([]func(*redis.ClusterOptions){func(o *redis.ClusterOptions) {
		o.ClusterStateReloadInterval = time.Second
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second
		o.DialerRetries = 1
		o.PoolSize = 50
	}}, change...)...)
}

func sentinelClient(
	t *testing.T, sentinel *redistest.Sentinel, change ...func(*redis.FailoverOptions),
) *redis.Client {
	t.Helper()
	return sentinel.Client(t, append([]func(*redis.FailoverOptions){func(o *redis.FailoverOptions) {
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second
		o.DialerRetries, o.MaxRetries = 1, 1
		o.PoolSize = 50
	}}, change...)...)
}

// idsOnAllMasters returns n ids for each master, one master after the other.
func idsOnAllMasters(t *testing.T, cluster *redistest.Cluster, n int) []string {
	t.Helper()
	const masters = 3
	client := cluster.Client(t)
	ids := make(map[*redis.Client][]string)
	for i, found := 0, 0; found < n*masters; i++ {
		id := fmt.Sprint("session", i)
		master, err := client.MasterForKey(t.Context(), keyOf(id))
		require.NoError(t, err)
		if len(ids[master]) < n {
			ids[master] = append(ids[master], id)
			found++
		}
	}
	var inTurn []string
	for i := range n {
		for _, of := range ids {
			inTurn = append(inTurn, of[i])
		}
	}
	return inTurn
}

func keyOf(id string) string { return "session:" + id }

// neighbor returns another id in the same slot of a Cluster.
func neighbor(id, name string) string {
	return "{" + keyOf(id) + "}" + strings.ReplaceAll(name, " ", "-")
}

func hostPort(t *testing.T, server *redistest.Server) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(server.Addr())
	require.NoError(t, err)
	return host, port
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(recovery); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
