//go:build unix

package session_test

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
	"github.com/seed34611480/session/internal/redistest"
)

// The faults that take more than a line, and what they need.

// withProcess has a third replica, which only loads, in a process of its own.
func withProcess(r *faultRun) {
	oneServer()(r)
	r.process = startProcess(r.t, r.server.Addr(), topologyStaleness)
}

func (r *faultRun) loadAllInProcess() {
	for _, line := range r.tr.sessions {
		r.tr.load(r.t.Context(), line, r.process, nobody)
	}
}

func stopProcess(r *faultRun) {
	r.tr.running.Go(func() {
		for pace(r.t.Context(), time.Millisecond) {
			r.loadAllInProcess()
		}
	})
	await(r.t, "the process", func() bool { return r.process.lastMode() == session.ModeLeased })
	r.tr.await(r.t, 500)

	r.process.signal(r.t, syscall.SIGSTOP)
	r.last()
	// These begin while it is stopped, and so late that all that it holds is too old.
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		r.loadAllInProcess()
	}()
	r.process.signal(r.t, syscall.SIGCONT)
	r.ended = time.Now()
	<-woken
}

// evict has Redis run out of memory while others write. What it writes is so large that there is room for fewer of its
// keys than there are sessions: Redis has to evict sessions too, as its clock for how old keys are ticks once a second.
// The room is so large that the buffers of clients do not matter: if those alone filled it, there would be nothing left
// to evict, and writes would fail.
func evict(r *faultRun) {
	r.tr.evicting.Store(true)
	admin := r.server.Client(r.t)
	used, err := strconv.Atoi(info(r.t, admin, "memory", "used_memory"))
	require.NoError(r.t, err)
	r.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", used+16<<20)
	filler := strings.Repeat("x", 1<<20)
	n := 0
	fill := func() {
		require.NoError(r.t, admin.Set(r.t.Context(), fmt.Sprint("filler", n), filler, 0).Err())
		n++
	}
	r.repeat(5*time.Millisecond, fill)
	await(r.t, "a session to be evicted", func() bool {
		fill()
		return r.tr.evicted.Load() > 0
	})
	r.do("CONFIG", "SET", "maxmemory", "0")
}

// demote makes another server the master for a while. It has all that was acknowledged, and nobody writes to it.
func demote(r *faultRun) {
	other := redistest.Start(r.t)
	follow(r.t, other, r.server)
	resume := r.tr.pauseWrites()
	replicate(r.t, r.server, r.ids[0])
	do(r.t, other, "REPLICAOF", "NO", "ONE")
	host, port := hostPort(r.t, other)
	r.do("REPLICAOF", host, port)
	resume()
	r.last()
	awaitSync(r.t, r.server)
	r.do("REPLICAOF", "NO", "ONE")
}

// resync lets a replica be away for longer than the backlog reaches back.
func resync(r *faultRun) {
	other := redistest.Start(r.t)
	follow(r.t, other, r.server)
	do(r.t, other, "REPLICAOF", "NO", "ONE")
	r.last()
	follow(r.t, other, r.server)
	full, err := strconv.Atoi(info(r.t, r.server.Client(r.t), "stats", "sync_full"))
	require.NoError(r.t, err)
	require.GreaterOrEqual(r.t, full, 2)
}

func follow(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	host, port := hostPort(t, master)
	do(t, replica, "REPLICAOF", host, port)
	awaitSync(t, replica)
}

func awaitSync(t *testing.T, replica *redistest.Server) {
	t.Helper()
	admin := replica.Client(t)
	await(t, "replication", func() bool { return info(t, admin, "replication", "master_link_status") == "up" })
}

func info(t *testing.T, client *redis.Client, section, field string) string {
	t.Helper()
	text, err := client.Info(t.Context(), section).Result()
	require.NoError(t, err)
	_, after, _ := strings.Cut(text, "\r\n"+field+":")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

// exhaustClients leaves room for one connection, which it holds itself.
func exhaustClients(r *faultRun) {
	admin := r.server.Client(r.t, func(o *redis.Options) { o.PoolSize, o.MaxRetries = 1, -1 })
	ctx := r.t.Context()
	limit, err := admin.ConfigGet(ctx, "maxclients").Result()
	require.NoError(r.t, err)
	require.NoError(r.t, admin.ConfigSet(ctx, "maxclients", "1").Err())
	for _, kind := range []string{"normal", "pubsub"} {
		require.NoError(r.t, admin.Do(ctx, "CLIENT", "KILL", "TYPE", kind).Err())
	}
	r.last()
	require.NoError(r.t, admin.ConfigSet(ctx, "maxclients", limit["maxclients"]).Err())
}

func onSentinel(r *faultRun) {
	sentinel := redistest.StartSentinel(r.t)
	r.server = sentinel.Master(r.t)
	r.replaced = func() bool { return sentinel.Master(r.t) != r.server }
	r.on(sentinelClient(r.t, sentinel), sentinelClient(r.t, sentinel))
}

func onCluster(replicasPerMaster int) func(r *faultRun) {
	return func(r *faultRun) {
		const masters = 3
		r.cluster = redistest.StartCluster(r.t, masters, replicasPerMaster)
		r.ids = idsOnAllMasters(r.t, r.cluster, matrixSessions/masters)
		r.probes = r.ids[:masters]
		r.ids = append(r.ids, neighbor(r.ids[0], "2"), neighbor(r.ids[0], "3")) // to move one after the other
		key := keyOf(r.ids[0])
		r.server = r.cluster.Master(r.t, key)
		r.replaced = func() bool { return r.cluster.Master(r.t, key) != r.server }
		r.on(clusterClient(r.t, r.cluster), clusterClient(r.t, r.cluster))
	}
}

// replaceMaster kills a master that has no acknowledged write to lose.
func replaceMaster(r *faultRun) {
	resume := r.tr.pauseWrites()
	replicate(r.t, r.server, r.ids[0])
	r.server.Kill()
	r.ended = time.Now()
	resume()
	await(r.t, "another master", r.replaced)
}

func migrate(r *faultRun) {
	key := keyOf(r.ids[0])
	to := r.cluster.Master(r.t, keyOf(r.ids[1]))
	migrateSlot(r.t, r.cluster, r.server, to, key, func() { r.tr.await(r.t, 500) })
	await(r.t, "all to know the new master", r.replaced)
}
