//go:build unix

package session_test

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
)

const bounded = "nothing older than S"

// faultRows is the table of docs/faults.md, in its order.
var faultRows = []faultRow{
	{
		name: "kill -9 and restart, AOF with `appendfsync always`", promised: bounded + ", nothing lost",
		errors: someErrors, setUp: oneServer("appendonly yes", "appendfsync always"),
		strike: func(r *faultRun) {
			r.server.Kill()
			r.last()
			r.server.Restart()
		},
	},
	{
		name:     "kill -9 and restart, nothing on disk",
		promised: bounded + "; the sessions are lost with Redis, which counts as deleting them then",
		errors:   someErrors,
		strike: func(r *faultRun) {
			r.tr.lose(r.server.Kill)
			r.last()
			r.server.Restart()
		},
	},
	{
		name: "SIGSTOP, SIGCONT of the server", promised: bounded, errors: someErrors, setUp: frozen(),
		strike: func(r *faultRun) {
			r.server.Pause()
			r.last()
			r.server.Continue()
		},
	},
	{
		name:     "SIGSTOP, SIGCONT of a client",
		promised: bounded + ", from the first load on; one that was under way may fail",
		errors:   maybeErrors, setUp: withProcess, strike: stopProcess,
	},
	{
		name: "`CLIENT KILL`, of all connections, 10 times a second", promised: bounded, errors: maybeErrors,
		strike: func(r *faultRun) {
			r.repeat(100*time.Millisecond, func() {
				for _, kind := range []string{"normal", "pubsub", "master", "replica"} {
					r.do("CLIENT", "KILL", "TYPE", kind)
				}
			})
		},
	},
	{
		name: "`CLIENT PAUSE`", promised: bounded, errors: someErrors, setUp: frozen(),
		strike: func(r *faultRun) {
			r.do("CLIENT", "PAUSE", faultDuration.Milliseconds(), "ALL")
			r.last()
		},
	},
	{
		name: "`DEBUG SLEEP`", promised: bounded, errors: someErrors, setUp: frozen("enable-debug-command yes"),
		strike: func(r *faultRun) { r.do("DEBUG", "SLEEP", faultDuration.Seconds()) },
	},
	{
		name: "`SCRIPT FLUSH`, 50 times a second", promised: bounded + ", no errors",
		strike: func(r *faultRun) {
			r.repeat(20*time.Millisecond, func() { r.do("SCRIPT", "FLUSH") })
		},
	},
	{
		name:     "`maxmemory` reached, `noeviction`",
		promised: bounded + "; stores fail, loads and deletes do not", errors: someErrors,
		strike: func(r *faultRun) {
			loads := r.tr.failedLoads.Load()
			r.do("CONFIG", "SET", "maxmemory", "1mb")
			r.last()
			r.do("CONFIG", "SET", "maxmemory", "0")
			require.Equal(r.t, loads, r.tr.failedLoads.Load(), "loads need no memory")
		},
	},
	{
		name:     "`maxmemory` reached, `allkeys-lru`",
		promised: bounded + "; \"not found\" for what Redis evicts", errors: maybeErrors,
		strike: evict,
	},
	{
		name: "the server becomes a read-only replica, and a master again", promised: bounded, errors: someErrors,
		strike: demote,
	},
	{
		name: "ACL: no `publish`", promised: bounded + "; writes fail", errors: someErrors, setUp: limited,
		strike: func(r *faultRun) { r.without("+publish", r.last) },
	},
	{
		name: "ACL: no `subscribe`", promised: bounded, errors: maybeErrors, setUp: limited,
		strike: func(r *faultRun) {
			r.without("+subscribe", func() {
				r.do("CLIENT", "KILL", "TYPE", "pubsub") // one that exists needs no permission any more
				r.last()
			})
		},
	},
	{
		name: "ACL: no `getex`", promised: bounded + "; loads from Redis fail", errors: someErrors, setUp: limited,
		strike: func(r *faultRun) { r.without("+getex", r.last) },
	},
	{
		name: "`maxclients` reached, after all connections broke", promised: bounded, errors: someErrors,
		strike: exhaustClients,
	},
	{
		name: "full resync of a replica, twice", promised: bounded + ", no errors",
		setUp: oneServer("repl-backlog-size 16kb"), strike: resync,
	},
	{
		name: "Sentinel failover", promised: bounded + "; what the replica had before the kill is not lost",
		errors: someErrors, setUp: onSentinel, strike: replaceMaster,
	},
	{
		name: "Cluster failover", promised: bounded + "; what the replica had before the kill is not lost",
		errors: someErrors, setUp: onCluster(1), strike: replaceMaster,
	},
	{
		name: "Cluster slot migration", promised: bounded + ", no errors", setUp: onCluster(0),
		strike: migrate,
	},
	{
		name: "link: 50 ms latency each way", promised: bounded + ", no errors", setUp: proxied,
		strike: func(r *faultRun) { r.onLink(both, netfault.Fault{Latency: 50 * time.Millisecond}) },
	},
	{
		name: "link: black hole to the server", promised: bounded, errors: someErrors, setUp: proxied,
		strike: func(r *faultRun) { r.onLink([]netfault.Direction{netfault.ToServer}, dropped) },
	},
	{
		name: "link: black hole to the client", promised: bounded, errors: someErrors, setUp: proxied,
		strike: func(r *faultRun) { r.onLink([]netfault.Direction{netfault.ToClient}, dropped) },
	},
	{
		name: "link: connections reset, 10 times a second", promised: bounded, errors: maybeErrors, setUp: proxied,
		strike: func(r *faultRun) { r.repeat(100*time.Millisecond, r.link.Reset) },
	},
	{
		name: "link: one byte at a time", promised: bounded + ", no errors", setUp: proxied,
		strike: func(r *faultRun) { r.onLink(both, netfault.Fault{OneByte: true}) },
	},
}

var both = []netfault.Direction{netfault.ToServer, netfault.ToClient}

func (r *faultRun) onLink(directions []netfault.Direction, f netfault.Fault) {
	for _, d := range directions {
		r.link.Set(d, f)
	}
	r.last()
	for _, d := range directions {
		r.link.Set(d, netfault.Fault{})
	}
}

func (r *faultRun) without(rule string, f func()) {
	all, _, _ := documentedPermissions(r.t)
	all.without(rule).grant(r.t, r.server)
	f()
	all.grant(r.t, r.server)
}
