//go:build unix

package faults

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

const bounded = "nothing older than S"

// matrixRows are the rows of docs/faults.md, in its order.
var matrixRows = []matrixRow{
	{
		name: "kill -9 and restart, AOF with `appendfsync always`", promised: bounded + ", nothing lost",
		errors: someErrors, setUp: oneServer("appendonly yes", "appendfsync always"),
		fences: true, inject: func(r *rowRun) {
			r.server.Kill()
			r.wait()
			r.server.Restart()
		},
	},
	{
		name:     "kill -9 and restart, nothing on disk",
		promised: bounded + "; the sessions are lost with Redis, which counts as deleting them then",
		errors:   someErrors,
		fences:   true, inject: func(r *rowRun) {
			r.traffic.LoseAll(r.server.Kill)
			r.wait()
			r.server.Restart()
		},
	},
	{
		name: "SIGSTOP, SIGCONT of the server", promised: bounded, errors: someErrors, setUp: serverThatPauses(),
		fences: true, inject: func(r *rowRun) {
			r.server.Pause()
			r.wait()
			r.server.Continue()
		},
	},
	{
		name:     "SIGSTOP, SIGCONT of a client",
		promised: bounded + ", from the first load on; a load that the stop interrupts may fail",
		errors:   maybeErrors, setUp: withProcess, fences: true, inject: stopProcess,
	},
	{
		name: "`CLIENT KILL`, of all connections, 10 times a second", promised: bounded, errors: maybeErrors,
		fences: true, inject: func(r *rowRun) {
			r.repeat(100*time.Millisecond, func() {
				for _, kind := range []string{"normal", "pubsub", "master", "replica"} {
					r.do("CLIENT", "KILL", "TYPE", kind)
				}
			})
		},
	},
	{
		name: "TLS: `CLIENT KILL`, of all connections but subscriptions, 4 times", promised: bounded + ", no errors",
		setUp: withTLS, inject: func(r *rowRun) {
			r.repeat(faultDuration/4, func() { r.do("CLIENT", "KILL", "TYPE", "normal") })
		},
	},
	{
		name: "`CLIENT PAUSE`", promised: bounded, errors: someErrors, setUp: serverThatPauses(),
		inject: func(r *rowRun) {
			r.do("CLIENT", "PAUSE", faultDuration.Milliseconds(), "ALL")
			r.wait()
		},
	},
	{
		name: "`DEBUG SLEEP`", promised: bounded, errors: someErrors,
		setUp: func(r *rowRun) {
			if redistest.Since(r.t, "7.0.0") { // before, the command is always on, and the setting unknown
				serverThatPauses("enable-debug-command yes")(r)
			} else {
				serverThatPauses()(r)
			}
		},
		inject: func(r *rowRun) { r.do("DEBUG", "SLEEP", faultDuration.Seconds()) },
	},
	{
		name: "`SCRIPT FLUSH`, 50 times a second", promised: bounded + ", no errors",
		inject: func(r *rowRun) {
			r.repeat(20*time.Millisecond, func() { r.do("SCRIPT", "FLUSH") })
		},
	},
	{
		name:     "`maxmemory` reached, `noeviction`",
		promised: bounded + "; stores fail, loads and deletes do not", errors: someErrors,
		fences: true, inject: func(r *rowRun) {
			failedLoads := r.traffic.Counts().FailedLoads
			r.do("CONFIG", "SET", "maxmemory", "1mb")
			r.wait()
			r.do("CONFIG", "SET", "maxmemory", "0")
			require.Equal(r.t, failedLoads, r.traffic.Counts().FailedLoads, "loads need no memory")
		},
	},
	{
		name:     "`maxmemory` reached, `allkeys-lru`",
		promised: bounded + "; \"not found\" for what Redis evicts", errors: maybeErrors,
		inject: evict,
	},
	{
		name: "the server becomes a read-only replica, and a master again", promised: bounded, errors: someErrors,
		fences: true, inject: demote,
	},
	{
		name: "ACL: no `publish`", promised: bounded + "; writes fail", errors: someErrors, setUp: withPermissions,
		inject: func(r *rowRun) { r.without("+publish", r.wait) },
	},
	{
		name: "ACL: no `subscribe`", promised: bounded, errors: maybeErrors, setUp: withPermissions,
		fences: true, inject: func(r *rowRun) {
			r.without("+subscribe", func() {
				r.do("CLIENT", "KILL", "TYPE", "pubsub") // an open subscription no longer needs the permission
				r.wait()
			})
		},
	},
	{
		name: "ACL: no `get`", promised: bounded + "; loads from Redis fail", errors: someErrors,
		setUp: withPermissions, inject: func(r *rowRun) { r.without("+get", r.wait) },
	},
	{
		name: "`maxclients` reached, after all connections broke", promised: bounded, errors: someErrors,
		inject: exhaustClients,
	},
	{
		name: "full resync of a replica, twice", promised: bounded + ", no errors",
		setUp: oneServer("repl-backlog-size 16kb"), fences: true, inject: resync,
	},
	{
		name: "Sentinel failover", promised: bounded + "; what the replica had before the kill is not lost",
		errors: someErrors, setUp: onSentinel, fences: true, inject: replaceMaster,
	},
	{
		name: "Cluster failover", promised: bounded + "; what the replica had before the kill is not lost",
		errors: someErrors, setUp: onCluster(1), fences: true, inject: replaceMaster,
	},
	{
		name: "Cluster slot migration", promised: bounded + ", no errors", setUp: onCluster(0),
		fences: true, inject: migrate,
	},
	{
		name: "Cluster slot migration, of the slot of a shard channel, there and back", promised: bounded + ", no errors",
		setUp: onCluster(0), fences: true, inject: migrateShardChannel,
	},
	{
		name: "Cluster slot migration, at once, and then of the slot of the shard channel", promised: bounded + ", no errors",
		since: realtest.AtomicMigration, setUp: onCluster(0), fences: true, inject: migrateAtomically,
	},
	{
		name: "Cluster slot migration, to a new master that gets only this slot", promised: bounded + ", no errors",
		setUp: onCluster(0), fences: true, inject: migrateToNewMaster,
	},
	{
		name: "Cluster slot migration, with one replica of an older version", promised: bounded + ", no errors",
		setUp: onMixedCluster, fences: true, inject: migrate,
	},
	{
		name: "link: 50 ms latency each way", promised: bounded + ", no errors", setUp: withLink,
		fences: true, inject: func(r *rowRun) { r.onLink(both, netfault.Fault{Latency: 50 * time.Millisecond}) },
	},
	{
		name: "link: black hole to the server", promised: bounded, errors: someErrors, setUp: withLink,
		fences: true, inject: func(r *rowRun) { r.onLink([]netfault.Direction{netfault.ToServer}, dropped) },
	},
	{
		name: "link: black hole to the client", promised: bounded, errors: someErrors, setUp: withLink,
		fences: true, inject: func(r *rowRun) { r.onLink([]netfault.Direction{netfault.ToClient}, dropped) },
	},
	{
		name: "link: connections reset, 10 times a second", promised: bounded, errors: maybeErrors, setUp: withLink,
		fences: true, inject: func(r *rowRun) { r.repeat(100*time.Millisecond, r.link.Reset) },
	},
	{
		name: "link: one byte at a time", promised: bounded + ", no errors", setUp: withLink,
		inject: func(r *rowRun) { r.onLink(both, netfault.Fault{OneByte: true}) },
	},
}

var both = []netfault.Direction{netfault.ToServer, netfault.ToClient}

func (r *rowRun) onLink(directions []netfault.Direction, f netfault.Fault) {
	for _, d := range directions {
		r.link.Set(d, f)
	}
	r.wait()
	for _, d := range directions {
		r.link.Set(d, netfault.Fault{})
	}
}

func (r *rowRun) without(rule string, f func()) {
	all, _, _ := realtest.DocumentedPermissions(r.t)
	all.Without(rule).Grant(r.t, r.server)
	f()
	all.Grant(r.t, r.server)
}
