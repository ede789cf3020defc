package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// These tests measure what replicas cost Redis while they serve from their local tiers.

// commandCounter is a hook that counts the commands of a client, except those that set up connections.
type commandCounter struct {
	mu   sync.Mutex // protects following fields
	sent map[string]int
}

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			c.count(cmd)
		}
		return next(ctx, cmds)
	}
}

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if !errors.Is(err, context.Canceled) { // it was not sent: it still waited for a connection
			c.count(cmd)
		}
		return err
	}
}

func (c *commandCounter) count(cmd redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := cmd.Name()
	if setsUpConnection(name) {
		return
	}
	if name == "evalsha" && len(cmd.Args()) == 5 { // one key, one argument
		name = "load"
	}
	c.sent[name]++
}

func setsUpConnection(command string) bool { return command == "hello" || command == "client" }

// take returns the counts since the last take.
func (c *commandCounter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = make(map[string]int)
	return sent
}

// executedCommands returns how often a server has executed each command, also in scripts. Commands that set up
// connections do not count, nor does the question.
func executedCommands(t testing.TB, observer *redis.Client) map[string]int {
	t.Helper()
	calls := redistest.Calls(t, observer)
	maps.DeleteFunc(calls, func(command string, _ int) bool { return setsUpConnection(command) || command == "info" })
	return calls
}

func countsSince(before, now map[string]int) map[string]int {
	difference := maps.Clone(now)
	for name, count := range before {
		difference[name] -= count
	}
	maps.DeleteFunc(difference, func(_ string, count int) bool { return count == 0 })
	return difference
}

func TestMillionLoads(t *testing.T) {
	const (
		sessions, loads = 1000, 1_000_000
		bound           = 4 * time.Second // no busy machine may cost the lease
		refreshAfter    = 500 * time.Millisecond
		interval        = 2 * time.Millisecond
	)
	server := redistest.Start(t)
	observer := server.Client(t)
	counter := &commandCounter{sent: make(map[string]int)}
	var replicas []*session.RoutingStorage
	for range 2 {
		client := server.Client(t)
		client.AddHook(counter)
		st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), sessions,
			session.WithMaxStaleness(bound), session.WithRefreshAfter(refreshAfter))
		defer func() { require.NoError(t, st.Close()) }()
		awaitMode(t, st, session.ModeLeased)
		replicas = append(replicas, st)
	}
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = fmt.Sprint("id-", i)
		require.NoError(t, replicas[0].Store(t.Context(), session.New(ids[i])))
	}
	for _, id := range ids {
		_, err := replicas[1].Load(t.Context(), id)
		require.NoError(t, err)
	}
	warm := session.NewRedisStorage(observer, time.Hour)
	_, err := warm.Revalidate(t.Context(), []session.Use{{ID: "id-0", At: time.Now()}})
	require.NoError(t, err) // now the server has the script

	counter.take()
	atServer, start := executedCommands(t, observer), time.Now()
	before := []session.Stats{replicas[0].Stats(), replicas[1].Stats()}
	var running sync.WaitGroup
	for _, st := range replicas {
		running.Go(func() {
			ticker := time.NewTicker(interval) // the test must last long enough for refreshes
			defer ticker.Stop()
			for range loads / sessions / len(replicas) {
				<-ticker.C
				for _, id := range ids {
					if _, err := st.Load(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	running.Wait()

	for _, st := range replicas {
		require.NoError(t, st.Close()) // now the counts are final
	}
	elapsed := time.Since(start)
	sent := counter.take()
	var hits, misses, refreshes uint64
	for i, st := range replicas {
		now := st.Stats()
		hits += now.Hits - before[i].Hits
		misses += now.Misses - before[i].Misses
		refreshes += now.Refreshes - before[i].Refreshes
	}
	perReplica := float64(elapsed) / float64(bound/4)
	mostRefreshes := float64(sessions*len(replicas)) * (float64(elapsed)/float64(refreshAfter) + 1)
	t.Logf("%d loads of %d sessions on %d replicas in %v", loads, sessions, len(replicas), elapsed.Round(time.Millisecond))
	t.Logf("%d refreshes, at most replicas * sessions * (elapsed / refreshAfter + 1) = %.0f", refreshes, mostRefreshes)

	require.EqualValues(t, loads, hits)
	require.Zero(t, misses)
	loadsSent, batches := sent["load"], sent["evalsha"]
	t.Logf("sent by %d revalidations and %d loads", batches, loadsSent)
	require.LessOrEqual(t, loadsSent+batches, int(refreshes)/10, "most entries are due together, and share a call")
	delete(sent, "load") // may be absent
	require.Equal(t, map[string]int{"evalsha": batches}, sent, "heartbeats have a client of their own")

	served := countsSince(atServer, executedCommands(t, observer))
	require.Equal(t, loadsSent, served["get"])
	delete(served, "get")
	beats, revalidated := served["evalsha"]-batches-loadsSent, served["getrange"]
	t.Logf("%d heartbeats; replicas * elapsed / (bound / 4) = %.0f", beats, float64(len(replicas))*perReplica)
	require.Equal(t, map[string]int{
		"evalsha": beats + batches + loadsSent,
		"del":     beats, "publish": beats, "pubsub": beats, // a heartbeat is a script of these three
		"getrange": revalidated, "pttl": revalidated, // and a revalidation of these
		"pexpire": revalidated + loadsSent,
	}, served)
	require.GreaterOrEqual(t, loadsSent+revalidated, int(refreshes), "Close may have interrupted some refreshes")
	require.LessOrEqual(t, float64(refreshes), mostRefreshes)
	require.Positive(t, refreshes)
	require.LessOrEqual(t, float64(beats), float64(len(replicas))*(perReplica+2))
	require.GreaterOrEqual(t, float64(beats), float64(len(replicas))*(perReplica/2-1), "a busy machine skips a few")
}

func TestHitsKeepASessionAliveOnRedis(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	server := redistest.Start(t)
	var replicas []*session.RoutingStorage
	for range 2 {
		st := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), ttl), 10)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		awaitMode(t, st, session.ModeLeased)
		replicas = append(replicas, st)
	}
	a, b := replicas[0], replicas[1]
	require.NoError(t, a.Store(t.Context(), session.New("busy")))
	require.NoError(t, a.Store(t.Context(), session.New("idle")))
	for _, id := range []string{"busy", "idle"} {
		_, err := b.Load(t.Context(), id)
		require.NoError(t, err)
	}
	const stores = 2
	require.Eventually(t, func() bool { return b.Stats().Events == stores }, realtest.Patience, time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 10*ttl)
	defer cancel()
	for range ticks(ctx, 5*time.Millisecond) {
		for _, st := range replicas {
			_, err := st.Load(t.Context(), "busy")
			require.NoError(t, err)
		}
	}
	require.Zero(t, a.Stats().Misses)
	require.EqualValues(t, 2, b.Stats().Misses, "refreshes of a evict no copy of b")
	require.EqualValues(t, stores, b.Stats().Events, "refreshes cause no events")
	require.Zero(t, b.Stats().Revoked)
	require.Positive(t, a.Stats().Refreshes)
	t.Logf("%d and %d refreshes in ten TTLs", a.Stats().Refreshes, b.Stats().Refreshes)
	for _, st := range replicas {
		_, err := st.Load(t.Context(), "idle")
		require.ErrorIs(t, err, session.ErrNotFound)
	}
}

func TestRestartOfRedisCausesNoBurst(t *testing.T) {
	t.Parallel()
	const sessions, asked, bound = 10_000, 10, 250 * time.Millisecond
	server := redistest.Start(t)
	st := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), time.Hour), sessions,
		session.WithMaxStaleness(bound))
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	var running sync.WaitGroup
	for worker := range 10 {
		running.Go(func() {
			for i := worker; i < sessions; i += 10 {
				if err := st.Store(t.Context(), session.New(fmt.Sprint("id-", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	before := st.Stats()
	require.Equal(t, sessions, before.Entries)

	server.Restart()
	require.Eventually(t, func() bool { return st.Stats().Gaps > before.Gaps }, realtest.Patience, time.Millisecond)
	awaitMode(t, st, session.ModeLeased)
	time.Sleep(bound) // now all copies from before the restart are too old
	for i := range asked {
		_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
		require.ErrorIs(t, err, session.ErrNotFound, "Redis lost the data")
	}
	time.Sleep(bound)
	now := st.Stats()
	require.EqualValues(t, asked, now.RemoteLoads-before.RemoteLoads)
	require.Equal(t, now.Refreshes, before.Refreshes)
	require.Equal(t, sessions-asked, now.Entries)
	require.Equal(t, asked, executedCommands(t, server.Client(t))["get"], "since the restart")
}

func TestNothingIsLeftOfAThousandStorages(t *testing.T) {
	const rounds, perRound = 10, 100
	server := redistest.Start(t)
	observer := server.Client(t)
	client := server.Client(t, func(o *redis.Options) { o.PoolSize = 10 })
	remote := session.NewRedisStorage(client, time.Hour)
	require.NoError(t, remote.Store(t.Context(), session.New("id")))
	require.NoError(t, observer.Ping(t.Context()).Err())
	before := runtime.NumGoroutine()

	for range rounds {
		var open []*session.RoutingStorage
		for range perRound {
			open = append(open, session.NewRoutingStorage(remote, 10))
		}
		for _, st := range open {
			_, err := st.Load(t.Context(), "id")
			require.NoError(t, err)
			awaitMode(t, st, session.ModeLeased)
		}
		for _, st := range open {
			require.NoError(t, st.Close())
		}
	}

	require.Eventually(t, func() bool {
		list, err := observer.Do(t.Context(), "CLIENT", "LIST").Text()
		require.NoError(t, err)
		return strings.Count(list, "\n") <= 1+10 && !strings.Contains(list, "cmd=subscribe")
	}, realtest.Patience, time.Millisecond, "the connections of the observer and of the pool remain")
	channels, err := observer.PubSubChannels(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, channels)
	subscribers, err := observer.PubSubNumSub(t.Context(), "session:!events:0").Result()
	require.NoError(t, err)
	require.Zero(t, subscribers["session:!events:0"])
	require.EqualValues(t, 0, client.PoolStats().PubSubStats.Active)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, realtest.Patience, time.Millisecond,
		"Eventually has one goroutine of its own")
}
