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

// A flood of loads of distinct unknown ids, 50 times as many at a time as the pool has connections, over a link that is
// slow.
const (
	floodPool      = 4
	floodCallers   = 50 * floodPool
	floodRoundTrip = 100 * time.Millisecond
	floodStaleness = 3 * time.Second
	floodWhole     = 2 * floodStaleness
	floodMisses    = 100 // remembered
	floodSessions  = 50
	floodPause     = 10 * time.Millisecond // of a caller after an error
	floodOthers    = 50                    // goroutines of the client, the link and the test
)

// TestFloodOfUnknownIDs: goroutines, connections and memory stay bounded. Heartbeats do not wait for the loads, so the
// lease lasts, and hits go on.
func TestFloodOfUnknownIDs(t *testing.T) {
	for name, loads := range map[string]int{
		"as many loads as connections":     floodPool,
		"more loads than connections":      10 * floodPool,
		"as many loads as callers, almost": floodCallers - 1,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlood(t, loads)
			base := runtime.NumGoroutine()
			before := f.st.Stats()
			running, cancel := context.WithTimeout(t.Context(), floodWhole)
			defer cancel()
			var callers sync.WaitGroup
			for range floodCallers {
				callers.Go(func() { f.loadUnknown(running) })
			}
			callers.Go(func() { f.hit(running) })
			top := f.sample(running)
			callers.Wait()

			now := f.st.Stats()
			t.Logf("%d loads, %d not found, %d unavailable; %d hits, the slowest took %v",
				f.loads.Load(), f.notFound.Load(), f.unavailable.Load(), f.hits, f.slowest)
			t.Logf("at most: %+v; %+v", top, now)
			require.Zero(t, f.wrong.Load(), "neither not found nor unavailable")
			require.Positive(t, f.notFound.Load(), "the remote has answered some")
			// One for each caller, one for each load that was sent, and, for an instant, one for each deadline that passes.
			require.LessOrEqual(t, top.goroutines, base+2*floodCallers+min(loads, floodCallers)+floodOthers)
			require.LessOrEqual(t, top.connections, floodPool)
			require.LessOrEqual(t, top.atServer, 8*floodPool,
				"those of the pool, some that it has just given up, and three others")
			require.LessOrEqual(t, top.missing, floodMisses)
			require.Less(t, top.proofAge, floodStaleness, "the lease lasts")
			require.Equal(t, before.Gaps, now.Gaps)
			require.Positive(t, f.hits)
			require.Zero(t, f.failed, "hits go on")
			require.Equal(t, floodSessions, now.Entries, "no session has made room")
			require.Zero(t, now.Evictions)
			realtest.Await(t, "the goroutines to end, but for those of the connections that stay open", func() bool {
				return runtime.NumGoroutine() <= base+floodOthers
			})
		})
	}
}

// flood is a replica with some sessions in its local tier.
type flood struct {
	t        *testing.T
	st       *session.RoutingStorage
	client   *redis.Client
	observer *redis.Client

	loads, notFound, unavailable, wrong atomic.Uint64

	hits, failed int           // of hit
	slowest      time.Duration // of its loads
}

type floodTop struct {
	goroutines, connections, atServer, missing int
	proofAge                                   time.Duration
}

func newFlood(t *testing.T, loads int) *flood {
	t.Helper()
	server := redistest.Start(t)
	link := netfault.Start(t, server.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: link.Addr(), ContextTimeoutEnabled: true, DisableIdentity: true, PoolSize: floodPool,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, DialerRetries: 1, MaxRetries: 1,
		MaintNotificationsConfig: realtest.NoMaintNotifications(),
	})
	t.Cleanup(func() { _ = client.Close() })
	f := &flood{t: t, client: client, observer: server.Client(t)}
	f.st = session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 10*floodSessions,
		session.WithMaxStaleness(floodStaleness), session.WithLoadConcurrency(loads),
		session.WithRememberedMisses(floodMisses))
	t.Cleanup(func() { require.NoError(t, f.st.Close()) })
	awaitMode(t, f.st, session.ModeLeased)
	for i := range floodSessions {
		require.NoError(t, f.st.Store(t.Context(), session.New(fmt.Sprint("busy-", i))))
	}
	_, err := f.st.Load(t.Context(), "unknown") // now Redis knows the script
	require.ErrorIs(t, err, session.ErrNotFound)
	link.SetBoth(netfault.Fault{Latency: floodRoundTrip / 2})
	return f
}

func (f *flood) loadUnknown(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := f.st.Load(context.WithoutCancel(ctx), fmt.Sprint("unknown-", f.loads.Add(1)))
		switch {
		case errors.Is(err, session.ErrNotFound):
			f.notFound.Add(1)
		case errors.Is(err, session.ErrUnavailable):
			f.unavailable.Add(1)
			time.Sleep(floodPause)
		default:
			f.wrong.Add(1)
		}
	}
}

// hit loads the busy sessions.
func (f *flood) hit(ctx context.Context) {
	for range ticks(ctx, time.Millisecond) {
		start := time.Now()
		_, err := f.st.Load(context.WithoutCancel(ctx), fmt.Sprint("busy-", f.hits%floodSessions))
		f.slowest = max(f.slowest, time.Since(start))
		f.hits++
		if err != nil {
			f.failed++
		}
	}
}

// sample returns the most that was seen of everything.
func (f *flood) sample(ctx context.Context) (top floodTop) {
	f.t.Helper()
	for range ticks(ctx, 5*time.Millisecond) {
		stats := f.st.Stats()
		top.goroutines = max(top.goroutines, runtime.NumGoroutine())
		top.connections = max(top.connections, int(f.client.PoolStats().TotalConns))
		top.missing = max(top.missing, stats.Missing)
		top.proofAge = max(top.proofAge, stats.ProofAge)
		list, err := f.observer.Do(f.t.Context(), "CLIENT", "LIST").Text()
		require.NoError(f.t, err)
		top.atServer = max(top.atServer, strings.Count(list, "\n"))
	}
	return top
}
