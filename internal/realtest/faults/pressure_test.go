//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// While no change events flow, a replica has to ask Redis for each session in use once per MaxStaleness. The critical
// load is the number of sessions for which its connections can do that.
const (
	pressureStaleness = time.Second
	pressureRoundTrip = 10 * time.Millisecond
	pressurePool      = 2
	criticalSessions  = int(pressureStaleness/pressureRoundTrip) * pressurePool
	pressureFactor    = 5 // docs/faults.md has it in its heading
	pressureSessions  = pressureFactor * criticalSessions
	pressureInterval  = 500 * time.Millisecond // between two loads of a session

	pressureEarly = 5 * time.Second  // it takes as long to ask for each session once
	pressureWhole = 12 * time.Second // how long a replica is observed after the event
	pressureQuiet = 2 * time.Second  // at the end, in which no load may fail
	pressurePause = 5 * time.Second
)

// pressureEvents are the rows of the second table of docs/faults.md, in its order.
var pressureEvents = []struct {
	name   string
	inject func(p *pressure)
}{
	{"the subscription is lost (`CLIENT KILL TYPE pubsub`)", func(p *pressure) {
		do(p.t, p.server, "CLIENT", "KILL", "TYPE", "pubsub")
	}},
	{"a replica starts cold", func(p *pressure) {
		p.replaced = true
		p.replica.Store(p.newReplica(p.link.Addr()))
	}},
	{"Redis restarts, with its data (AOF)", func(p *pressure) { p.server.Restart() }},
	{"Redis pauses for 5 s (SIGSTOP, SIGCONT)", func(p *pressure) {
		p.server.Pause()
		time.Sleep(pressurePause)
		p.server.Continue()
	}},
}

// pressure is a replica that all users load from, over a link that is long, and another replica that writes.
type pressure struct {
	t        *testing.T
	server   *redistest.Server
	link     *netfault.Proxy
	replica  atomic.Pointer[session.RoutingStorage]
	replaced bool // the event has put another replica in place
	traffic  *realtest.Traffic
}

// Load makes p a realtest.Loader.
func (p *pressure) Load(ctx context.Context, id string) (*session.Session, error) {
	return p.replica.Load().Load(ctx, id)
}

// newReplica returns a replica with a client that is set up as docs/operations.md recommends, but for the small pool.
func (p *pressure) newReplica(addr string, change ...func(*redis.Options)) *session.RoutingStorage {
	opts := &redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
		DialerRetries: 1, MaxRetries: 1, PoolSize: pressurePool,
	}
	for _, f := range change {
		f(opts)
	}
	client := redis.NewClient(opts)
	p.t.Cleanup(func() { _ = client.Close() })
	st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 2*pressureSessions,
		session.WithMaxStaleness(pressureStaleness))
	p.t.Cleanup(func() { require.NoError(p.t, st.Close()) })
	return st
}

// newPressure returns when the replica is leased and has all sessions.
func newPressure(t *testing.T) *pressure {
	t.Helper()
	p := &pressure{t: t, server: redistest.Start(t, redistest.WithConfig("appendonly yes"))}
	p.link = netfault.Start(t, p.server.Addr())
	writer := p.newReplica(p.server.Addr(), func(o *redis.Options) {
		// If this client gave up a write, a server that pauses would still execute it, after writes that were sent later.
		o.ReadTimeout, o.MaxRetries, o.PoolSize = realtest.Patience, -1, 50
	})
	p.replica.Store(p.newReplica(p.link.Addr()))
	ids := make([]string, pressureSessions)
	for i := range ids {
		ids[i] = fmt.Sprint("session", i)
	}
	p.traffic = realtest.StartUsers(t, pressureStaleness, pressureInterval, ids, writer, p)
	realtest.Await(t, "all sessions", func() bool { return p.traffic.Counts().Loads >= uint64(2*pressureSessions) })
	awaitMode(t, p.replica.Load(), session.ModeLeased)
	p.link.SetBoth(netfault.Fault{Latency: pressureRoundTrip / 2})
	return p
}

// measurePressure lets an event happen under load, and checks what must hold after any of them.
func measurePressure(t *testing.T, inject func(p *pressure)) pressureFigures {
	t.Helper()
	p := newPressure(t)
	sent := p.replica.Load().Stats().RemoteLoads
	stop := p.watch()
	begun := time.Now()
	inject(p)
	ended := time.Now()
	time.Sleep(pressureWhole)
	f := summarize(stop(), begun, ended)
	f.remoteLoads = p.replica.Load().Stats().RemoteLoads
	if !p.replaced {
		f.remoteLoads -= sent
	}
	f.Counts = p.traffic.Counts()
	t.Logf("%+v", f)
	t.Logf("%+v", p.replica.Load().Stats())

	p.traffic.RequireRight(t)
	require.LessOrEqual(t, f.Oldest, pressureStaleness)
	require.True(t, f.lost, "the event had no effect on the lease")
	require.GreaterOrEqual(t, f.leased, time.Duration(0), "the replica was not leased again")
	require.Positive(t, f.quiet.loads)
	require.Zero(t, f.quiet.failed, "loads fail at the end")
	require.LessOrEqual(t, f.goroutines, 3*pressureSessions/2, "one for each user, and few others")
	return f
}

// TestImpatientClientsLeaveNothing has clients that give up at once while Redis hangs.
func TestImpatientClientsLeaveNothing(t *testing.T) {
	const (
		clients, patience = 100, 10 * time.Millisecond
		hang              = 2 * time.Second
		most              = 400 // goroutines; with one for each load that was given up it would be thousands
		asked             = 1000
		probes            = 50 // more than an outage of this test lasts for
	)
	server := redistest.Start(t)
	p := &pressure{t: t, server: server}
	st := p.newReplica(server.Addr(), func(o *redis.Options) { o.PoolSize = 50 })
	awaitMode(t, st, session.ModeLeased)
	observer := server.Client(t)
	served := executedLoads(t, observer)

	server.Pause()
	var (
		running sync.WaitGroup
		loads   atomic.Uint64
		wrong   atomic.Uint64
		top     int
	)
	hanging, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for range clients {
		running.Go(func() {
			for hanging.Err() == nil {
				ctx, leave := context.WithTimeout(hanging, patience)
				_, err := st.Load(ctx, fmt.Sprint("id-", loads.Add(1)))
				leave()
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, session.ErrUnavailable) {
					wrong.Add(1)
				}
			}
		})
	}
	for range ticks(hanging, time.Millisecond) {
		top = max(top, runtime.NumGoroutine())
	}
	running.Wait()
	require.Zero(t, wrong.Load())
	require.LessOrEqual(t, top, most)

	// Now clients that wait: the first ones find out that Redis does not answer, the others need not ask.
	realtest.Await(t, "the outage to be known", func() bool {
		_, err := st.Load(t.Context(), "patient")
		require.ErrorIs(t, err, session.ErrUnavailable)
		return strings.Contains(err.Error(), "did not answer others")
	})
	before, start := st.Stats(), time.Now()
	for i := range asked {
		_, err := st.Load(t.Context(), fmt.Sprint("other-", i))
		require.ErrorIs(t, err, session.ErrUnavailable)
	}
	took := time.Since(start)
	sent := st.Stats().RemoteLoads - before.RemoteLoads
	require.LessOrEqual(t, sent, uint64(probes))
	require.GreaterOrEqual(t, st.Stats().Rejected-before.Rejected, uint64(asked-probes))

	server.Continue()
	start = time.Now()
	realtest.Await(t, "answers", func() bool {
		_, err := st.Load(t.Context(), "patient")
		return errors.Is(err, session.ErrNotFound)
	})
	answers := time.Since(start)
	served = executedLoads(t, observer) - served
	t.Logf("%d loads were given up, at most %d goroutines", loads.Load(), top)
	t.Logf("%d loads took %v while the outage was known, and sent %d commands", asked, took, sent)
	t.Logf("answers %v after the outage; Redis executed %d loads", answers, served)
	require.LessOrEqual(t, served, int(loads.Load())/10, "what no client waits for is not sent")
}

func executedLoads(t *testing.T, observer *redis.Client) int {
	t.Helper()
	executed := executedCommands(t, observer)
	return executed["getex"] + executed["get"]
}
