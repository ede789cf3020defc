//go:build unix

package faults

import (
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// fenceRows are the rows of the second table of docs/faults.md: those of the first one that are measured once more, and
// faults that matter to fences only.
func fenceRows() (rows []matrixRow) {
	for _, row := range matrixRows {
		if row.fences {
			rows = append(rows, row)
		}
	}
	return append(rows, matrixRow{
		name: "kill -9 of a client", setUp: withVictim, inject: killProcess,
	}, matrixRow{
		name: "`CLIENT KILL`, of all subscriptions, 10 times a second",
		inject: func(r *rowRun) {
			r.repeat(100*time.Millisecond, func() { r.do("CLIENT", "KILL", "TYPE", "pubsub") })
		},
	}, matrixRow{
		name: "`DEL` of the registry of holders, 50 times a second",
		inject: func(r *rowRun) {
			r.repeat(20*time.Millisecond, func() { r.do("DEL", "session: !holders ") })
		},
	}, matrixRow{
		name: "`FLUSHALL`, and `CLIENT KILL` of all subscriptions", inject: flush,
	})
}

// someLoads is how many loads after fences there have to be, before the fault and after it.
const someLoads = 20

// startFences begins to call fences, once they return early. The third replica is loaded from, too.
func (r *rowRun) startFences() *realtest.Fences {
	if !r.fencing {
		return nil
	}
	var others []realtest.Loader
	if r.process != nil {
		realtest.Await(r.t, "a lease of the process", func() bool { return leased(r, r.process) })
		others = append(others, r.process)
	}
	r.awaitEarlyFences()
	fences := r.traffic.StartFences(r.t, others...)
	fences.Await(r.t, someLoads)
	require.Positive(r.t, fences.Take().Early, "before the fault")
	return fences
}

// awaitEarlyFences returns how long after the fault that is.
func (r *rowRun) awaitEarlyFences() time.Duration {
	realtest.Await(r.t, "fences to return early", func() bool {
		return fenceTakes(r.t, r.replicas[0]) < realtest.Staleness/2
	})
	return time.Since(r.ended)
}

// withVictim adds a third replica, in a process of its own, that holds a lease.
func withVictim(r *rowRun) {
	oneServer()(r)
	r.victim = startProcess(r.t, r.server.Addr(), realtest.Staleness, r.fencing)
	realtest.Await(r.t, "a lease of the process", func() bool { return leased(r, r.victim) })
}

// leased has a process load a session, which tells its mode.
func leased(r *rowRun, p *process) bool {
	_, _ = p.Load(r.t.Context(), r.ids[0])
	return p.lastMode() == session.ModeLeased
}

func killProcess(r *rowRun) {
	r.victim.signal(r.t, syscall.SIGKILL)
	r.ended = time.Now()
	r.wait()
}

// flush removes all sessions, and the registry. Redis sends no events for that: only the broken subscriptions keep the
// replicas from serving what they have for as long as events flow.
func flush(r *rowRun) {
	r.traffic.LoseAll(func() {
		r.do("FLUSHALL")
		r.do("CLIENT", "KILL", "TYPE", "pubsub")
	})
	r.wait()
}
