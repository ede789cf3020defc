//go:build unix

package faults

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// The servers and replicas that the rows of the matrix run on.

// oneServer starts a server with two replicas.
func oneServer(config ...string) func(r *rowRun) {
	return func(r *rowRun) {
		r.server = redistest.Start(r.t, redistest.WithConfig(config...))
		r.start(matrixClient(r, r.server.Addr()), matrixClient(r, r.server.Addr()))
	}
}

// withTLS starts a server whose clients do not notice that it has closed an idle connection.
func withTLS(r *rowRun) {
	r.server = redistest.Start(r.t, redistest.WithTLS())
	encrypted := func(o *redis.Options) { o.TLSConfig = r.server.TLS() }
	r.start(matrixClient(r, r.server.Addr(), encrypted), matrixClient(r, r.server.Addr(), encrypted))
}

// serverThatPauses starts a server that stops for a while, and replicas whose commands wait for it. If a client gave up
// a write, the server would still execute it, after writes that were sent later.
func serverThatPauses(config ...string) func(r *rowRun) {
	return func(r *rowRun) {
		r.server = redistest.Start(r.t, redistest.WithConfig(config...))
		wait := func(o *redis.Options) { o.ReadTimeout = realtest.Patience }
		r.start(matrixClient(r, r.server.Addr(), wait), matrixClient(r, r.server.Addr(), wait))
	}
}

// withProcess adds a third replica, which only loads, in a process of its own.
func withProcess(r *rowRun) {
	oneServer()(r)
	r.process = startProcess(r.t, r.server.Addr(), realtest.Staleness, r.fencing)
}

// withLink connects the second replica through a link. The first one keeps writing while the link fails.
func withLink(r *rowRun) {
	r.server = redistest.Start(r.t)
	r.link = netfault.Start(r.t, r.server.Addr())
	r.start(matrixClient(r, r.server.Addr()), matrixClient(r, r.link.Addr()))
}

// withPermissions starts replicas that have only the permissions that docs/operations.md lists.
func withPermissions(r *rowRun) {
	all, _, _ := realtest.DocumentedPermissions(r.t)
	r.server = redistest.Start(r.t, redistest.WithConfig(all.Config()))
	as := func(o *redis.Options) { o.Username, o.Password = all.User, all.Password(r.t) }
	r.start(matrixClient(r, r.server.Addr(), as), matrixClient(r, r.server.Addr(), as))
}

func onSentinel(r *rowRun) {
	sentinel := redistest.StartSentinel(r.t)
	r.server = sentinel.Master(r.t)
	r.replaced = func() bool { return sentinel.Master(r.t) != r.server }
	r.start(realtest.SentinelClient(r.t, sentinel), realtest.SentinelClient(r.t, sentinel))
}

const clusterMasters = 3

// onMasters chooses the ids on a Cluster, and the master that the fault affects.
func (r *rowRun) onMasters(cluster *redistest.Cluster) {
	r.cluster = cluster
	r.ids = realtest.IDsOnAllMasters(r.t, r.cluster, matrixSessions/clusterMasters)
	r.probes = r.ids[:clusterMasters]
	// So that a slot that moves has several keys.
	r.ids = append(r.ids, realtest.SameSlot(r.ids[0], "2"), realtest.SameSlot(r.ids[0], "3"))
	key := realtest.KeyOf(r.ids[0])
	r.server = r.cluster.Master(r.t, key)
	r.replaced = func() bool { return r.cluster.Master(r.t, key) != r.server }
}

func onCluster(replicasPerMaster int) func(r *rowRun) {
	return func(r *rowRun) {
		r.onMasters(redistest.StartCluster(r.t, clusterMasters, replicasPerMaster))
		r.start(realtest.ClusterClient(r.t, r.cluster), realtest.ClusterClient(r.t, r.cluster))
	}
}

// onMixedCluster gives the second replica the permissions of an older version of this library, which had no shard
// channels.
func onMixedCluster(r *rowRun) {
	r.mixed = true
	_, all, _ := realtest.DocumentedPermissions(r.t)
	older := all.Without("+spublish").Without("+ssubscribe")
	r.onMasters(redistest.StartCluster(r.t, clusterMasters, 0, redistest.WithConfig(older.Config())))
	r.start(realtest.ClusterClient(r.t, r.cluster), realtest.ClusterClient(r.t, r.cluster, func(o *redis.ClusterOptions) {
		o.Username, o.Password, o.DisableIdentity = older.User, older.Password(r.t), true
	}))
}

func (r *rowRun) start(clients ...redis.UniversalClient) {
	opts := []session.RoutingOption{session.WithLoadTimeout(realtest.Staleness)}
	if r.fencing {
		opts = append(opts, session.WithFencing())
	}
	for _, client := range clients {
		r.replicas = append(r.replicas, realtest.Replica(r.t, client, opts...))
	}
	if r.ids != nil {
		return
	}
	for i := range matrixSessions {
		r.ids = append(r.ids, fmt.Sprint("session", i))
	}
	r.probes = r.ids[:1]
}

// matrixClient returns a client that is set up as docs/operations.md recommends.
func matrixClient(r *rowRun, addr string, change ...func(*redis.Options)) *redis.Client {
	opts := &redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DialerRetries: 1, PoolSize: 50, MinIdleConns: 5, ConnMaxIdleTime: 3 * time.Minute,
		MaintNotificationsConfig: realtest.NoMaintNotifications(),
	}
	for _, f := range change {
		f(opts)
	}
	client := redis.NewClient(opts)
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}
