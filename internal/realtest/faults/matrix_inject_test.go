//go:build unix

package faults

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// The faults of the matrix that take more than a few lines.

// stopProcess stops the process of the third replica, and lets it continue when everything that it holds is too old.
func stopProcess(r *rowRun) {
	r.traffic.LoadAllRepeatedly(r.t.Context(), r.process)
	realtest.Await(r.t, "the process", func() bool { return r.process.lastMode() == session.ModeLeased })
	r.traffic.Await(r.t, 500)

	r.process.signal(r.t, syscall.SIGSTOP)
	r.wait()
	// These loads begin while the process is stopped.
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		r.traffic.LoadAll(r.t.Context(), r.process)
	}()
	r.process.signal(r.t, syscall.SIGCONT)
	r.ended = time.Now()
	<-loaded
}

// evict writes other keys until Redis runs out of memory and evicts sessions. The keys are so large that fewer of them
// fit than there are sessions. Redis then has to evict sessions too, because its clock for the age of keys has a
// resolution of one second. The limit is so large that the buffers of clients do not matter: if they filled it, there
// would be nothing to evict, and writes would fail.
func evict(r *rowRun) {
	r.traffic.AllowEviction()
	admin := r.server.Client(r.t)
	used, err := strconv.Atoi(info(r.t, admin, "memory", "used_memory"))
	require.NoError(r.t, err)
	r.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") // Redis 6.2 sets one at a time
	r.do("CONFIG", "SET", "maxmemory", used+16<<20)
	filler := strings.Repeat("x", 1<<20)
	n := 0
	fill := func() {
		require.NoError(r.t, admin.Set(r.t.Context(), fmt.Sprint("filler", n), filler, 0).Err())
		n++
	}
	r.repeat(5*time.Millisecond, fill)
	realtest.Await(r.t, "a session to be evicted", func() bool {
		fill()
		return r.traffic.Counts().Evicted > 0
	})
	r.do("CONFIG", "SET", "maxmemory", "0")
}

// demote makes another server the master for a while. That server has every acknowledged write, and gets no new ones.
func demote(r *rowRun) {
	other := redistest.Start(r.t)
	follow(r.t, other, r.server)
	resume := r.traffic.PauseWrites()
	realtest.AwaitReplicated(r.t, r.server, r.ids[0])
	do(r.t, other, "REPLICAOF", "NO", "ONE")
	host, port := realtest.HostPort(r.t, other)
	r.do("REPLICAOF", host, port)
	resume()
	r.wait()
	awaitSync(r.t, r.server)
	r.do("REPLICAOF", "NO", "ONE")
}

// resync disconnects a replica for longer than the replication backlog lasts.
func resync(r *rowRun) {
	other := redistest.Start(r.t)
	follow(r.t, other, r.server)
	do(r.t, other, "REPLICAOF", "NO", "ONE")
	r.wait()
	follow(r.t, other, r.server)
	full, err := strconv.Atoi(info(r.t, r.server.Client(r.t), "stats", "sync_full"))
	require.NoError(r.t, err)
	require.GreaterOrEqual(r.t, full, 2)
}

func follow(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	host, port := realtest.HostPort(t, master)
	do(t, replica, "REPLICAOF", host, port)
	awaitSync(t, replica)
}

func awaitSync(t *testing.T, replica *redistest.Server) {
	t.Helper()
	admin := replica.Client(t)
	realtest.Await(t, "replication", func() bool {
		return info(t, admin, "replication", "master_link_status") == "up"
	})
}

func info(t *testing.T, client *redis.Client, section, field string) string {
	t.Helper()
	text, err := client.Info(t.Context(), section).Result()
	require.NoError(t, err)
	_, after, _ := strings.Cut(text, "\r\n"+field+":")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

// exhaustClients limits the server to one connection, and uses that one itself.
func exhaustClients(r *rowRun) {
	admin := r.server.Client(r.t, func(o *redis.Options) { o.PoolSize, o.MaxRetries = 1, -1 })
	ctx := r.t.Context()
	limit, err := admin.ConfigGet(ctx, "maxclients").Result()
	require.NoError(r.t, err)
	require.NoError(r.t, admin.ConfigSet(ctx, "maxclients", "1").Err())
	for _, kind := range []string{"normal", "pubsub"} {
		require.NoError(r.t, admin.Do(ctx, "CLIENT", "KILL", "TYPE", kind).Err())
	}
	r.wait()
	require.NoError(r.t, admin.ConfigSet(ctx, "maxclients", limit["maxclients"]).Err())
}

// replaceMaster kills a master whose replica has every acknowledged write.
func replaceMaster(r *rowRun) {
	resume := r.traffic.PauseWrites()
	realtest.AwaitReplicated(r.t, r.server, r.ids[0])
	r.server.Kill()
	r.ended = time.Now()
	resume()
	realtest.Await(r.t, "another master", r.replaced)
}

// migrate moves the slot of the first id to another master.
func migrate(r *rowRun) { r.migrateTo(r.cluster.Master(r.t, realtest.KeyOf(r.ids[1]))) }

// migrateToNewMaster moves it to a master that no replica knows yet, and that has no slot for a shard channel.
func migrateToNewMaster(r *rowRun) { r.migrateTo(r.cluster.AddMaster(r.t)) }

func (r *rowRun) migrateTo(to *redistest.Server) {
	key := realtest.KeyOf(r.ids[0])
	realtest.MigrateSlot(r.t, r.cluster, r.server, to, key, func() { r.traffic.Await(r.t, 500) })
	realtest.Await(r.t, "all nodes to know the new master", r.replaced)
}

// migrateAtomically moves the slot of the first id, and that of the channel that carries its events.
func migrateAtomically(r *rowRun) {
	for _, key := range []string{realtest.KeyOf(r.ids[0]), realtest.ShardChannelKey(r.ids[0])} {
		from, to := r.cluster.Master(r.t, key), r.cluster.Master(r.t, realtest.KeyOf(r.ids[1]))
		if from == to {
			to = r.cluster.Master(r.t, realtest.KeyOf(r.ids[2]))
		}
		realtest.MigrateAtomically(r.t, from, to, key)
		realtest.Await(r.t, "the new master", func() bool { return r.cluster.Master(r.t, key) == to })
		r.traffic.Await(r.t, 500)
	}
	realtest.RequireShards(r.t, r.ids, r.replicas...)
}

// migrateShardChannel moves the slot of the channel that carries the events of the first id. The id stays.
func migrateShardChannel(r *rowRun) {
	key := realtest.ShardChannelKey(r.ids[0])
	home, other := r.cluster.Master(r.t, key), r.cluster.Master(r.t, realtest.KeyOf(r.ids[1]))
	for _, way := range [][]*redistest.Server{{home, other}, {other, home}} {
		realtest.MigrateSlot(r.t, r.cluster, way[0], way[1], key, func() { r.traffic.Await(r.t, 500) })
		r.wait()
	}
	realtest.RequireShards(r.t, r.ids, r.replicas...)
}
