package realtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// ClusterClient returns a client that is set up as docs/operations.md recommends.
func ClusterClient(
	t testing.TB, cluster *redistest.Cluster, change ...func(*redis.ClusterOptions),
) *redis.ClusterClient {
	t.Helper()
	return cluster.Client(t, append([]func(*redis.ClusterOptions){func(o *redis.ClusterOptions) {
		o.ClusterStateReloadInterval = time.Second
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second
		o.DialerRetries = 1
		o.PoolSize = 50
		o.MaintNotificationsConfig = NoMaintNotifications()
	}}, change...)...)
}

// NoMaintNotifications keeps go-redis from asking for notifications that only Redis' own cloud sends. Redis 6.2 logs
// the question as a command that the documented permissions do not include.
func NoMaintNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// SentinelClient returns a client that is set up as docs/operations.md recommends.
func SentinelClient(
	t testing.TB, sentinel *redistest.Sentinel, change ...func(*redis.FailoverOptions),
) *redis.Client {
	t.Helper()
	return sentinel.Client(t, append([]func(*redis.FailoverOptions){recommended}, change...)...)
}

// RoutingSentinelClient is SentinelClient for a client that may send reads to the replica.
func RoutingSentinelClient(
	t testing.TB, sentinel *redistest.Sentinel, change ...func(*redis.FailoverOptions),
) *redis.ClusterClient {
	t.Helper()
	return sentinel.RoutingClient(t, append([]func(*redis.FailoverOptions){recommended}, change...)...)
}

func recommended(o *redis.FailoverOptions) {
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = time.Second, time.Second, time.Second
	o.DialerRetries, o.MaxRetries = 1, 1
	o.PoolSize = 50
}

// IDsOnAllMasters returns n ids for each of three masters. The masters take turns: the first three ids are on three
// masters.
func IDsOnAllMasters(t testing.TB, cluster *redistest.Cluster, n int) []string {
	t.Helper()
	const masters = 3
	client := cluster.Client(t)
	ids := make(map[*redis.Client][]string)
	for i, found := 0, 0; found < n*masters; i++ {
		id := fmt.Sprint("session", i)
		master, err := client.MasterForKey(t.Context(), KeyOf(id))
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

// AwaitReplicated waits until a replica of a master has every write that the master acknowledged. WAIT covers only the
// writes of its own connection, so the connection first writes a marker to the slot of id.
func AwaitReplicated(t testing.TB, master *redistest.Server, id string) {
	t.Helper()
	conn := master.Client(t).Conn()
	defer func() { require.NoError(t, conn.Close()) }()
	require.NoError(t, conn.Set(t.Context(), KeyOf(SameSlot(id, "marker")), "", time.Minute).Err())
	replicas, err := conn.Wait(t.Context(), 1, Patience).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, replicas)
}

// MigrateSlot moves the slot of a key with all its keys, the way redis-cli does. It calls f twice: after the first key
// has moved, while keys are on both sides and clients are redirected for each, and after the last one.
func MigrateSlot(t testing.TB, c *redistest.Cluster, from, to *redistest.Server, key string, f func()) {
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
		host, port := HostPort(t, to)
		require.NoError(t, source.Migrate(ctx, host, port, keys[0], 0, Patience).Err()) // NOKEY is no error
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

// AtomicMigration is the first version of Redis that can move a slot at once. Of Valkey, 9 can.
const AtomicMigration = "8.4.0"

// MigrateAtomically moves the slot of a key with one command, which redirects no single keys.
func MigrateAtomically(t testing.TB, from, to *redistest.Server, key string) {
	t.Helper()
	ctx, source, target := t.Context(), from.Client(t), to.Client(t)
	slot := source.ClusterKeySlot(ctx, key).Val()
	if target.Do(ctx, "CLUSTER", "MIGRATION", "IMPORT", slot, slot).Err() == nil {
		return
	}
	id := target.ClusterMyID(ctx).Val()
	require.NoError(t, source.Do(ctx, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", id).Err())
}
