//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// fencing returns replicas with WithFencing on one server, whose epochs are old enough for fences to return early.
func fencing(t *testing.T, server *redistest.Server, n int) []*session.RoutingStorage {
	t.Helper()
	replicas := make([]*session.RoutingStorage, n)
	for i := range replicas {
		replicas[i] = realtest.Replica(t, server.Client(t), session.WithFencing())
	}
	realtest.RequireEventsFlow(t, []string{"one"}, replicas[0], replicas[n-1])
	realtest.Await(t, "fences to return early", func() bool { return fenceTakes(t, replicas[0]) < realtest.Staleness/2 })
	return replicas
}

func fenceTakes(t *testing.T, st *session.RoutingStorage) time.Duration {
	t.Helper()
	start := time.Now()
	require.NoError(t, st.Fence(t.Context()))
	return time.Since(start)
}

// TestNextRequestAfterAFence deletes a session through one replica, after the other one has taken a copy, and then
// sends the very next request to the other one. Without the fence, some are served.
func TestNextRequestAfterAFence(t *testing.T) {
	t.Parallel()
	const workers, rounds = 20, 1000 // 20,000 in all
	replicas := fencing(t, redistest.Start(t), 2)
	a, b := replicas[0], replicas[1]
	var served, fast atomic.Uint64
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range rounds {
				id := fmt.Sprint("session-", w, "-", i)
				err := errors.Join(a.Store(t.Context(), session.New(id)), loadTwice(t.Context(), b, id), a.Delete(t.Context(), id))
				start := time.Now()
				if err = errors.Join(err, a.Fence(t.Context())); err != nil {
					t.Error(err)
					return
				}
				if time.Since(start) < realtest.Staleness/2 {
					fast.Add(1)
				}
				if _, err := b.Load(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
					served.Add(1)
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d fences, %d of them early", workers*rounds, fast.Load())
	require.Zero(t, served.Load())
	require.Greater(t, fast.Load(), uint64(workers*rounds/2))
	require.NotZero(t, b.Stats().Hits)
}

// loadTwice loads a session, so that the replica has a copy, and loads that.
func loadTwice(ctx context.Context, st *session.RoutingStorage, id string) error {
	_, err := st.Load(ctx, id)
	_, again := st.Load(ctx, id)
	return errors.Join(err, again)
}

// TestFenceDoesNotFail has replicas, the server and the registry fail in turn. The fence takes no longer than S.
//
//nolint:tparallel // one after the other: each begins where the last one ended
func TestFenceDoesNotFail(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replicas := fencing(t, server, 3)
	observer := server.Client(t)
	const most = realtest.Staleness + realtest.Staleness/500 + 200*time.Millisecond // and what a busy machine takes

	t.Run("a holder that has crashed", func(t *testing.T) {
		require.NoError(t, observer.HSet(t.Context(), "session: !holders ", "GHOST", "1 600 0").Err())
		require.GreaterOrEqual(t, fenceTakes(t, replicas[0]), realtest.Staleness)
		realtest.Await(t, "the holder to be forgotten", func() bool {
			return fenceTakes(t, replicas[0]) < realtest.Staleness/2
		})
		require.NotContains(t, observer.HKeys(t.Context(), "session: !holders ").Val(), "GHOST")
	})
	t.Run("a holder that closes", func(t *testing.T) {
		require.NoError(t, replicas[2].Close())
		require.Less(t, fenceTakes(t, replicas[0]), realtest.Staleness/2)
		require.Len(t, observer.HKeys(t.Context(), "session: !holders ").Val(), 1+2)
	})
	t.Run("the registry is lost", func(t *testing.T) {
		require.NoError(t, observer.Del(t.Context(), "session: !holders ").Err())
		took := fenceTakes(t, replicas[0])
		require.GreaterOrEqual(t, took, realtest.Staleness/4, "it cannot know who is there")
		require.Less(t, took, most)
		realtest.Await(t, "early fences", func() bool { return fenceTakes(t, replicas[0]) < realtest.Staleness/2 })
	})
	t.Run("a full server", func(t *testing.T) {
		require.NoError(t, observer.ConfigSet(t.Context(), "maxmemory", "1").Err())
		for range 5 {
			time.Sleep(realtest.Staleness / 4)
			require.Equal(t, session.ModeLeased, replicas[0].Stats().Mode)
			require.Less(t, fenceTakes(t, replicas[0]), most)
		}
		require.NoError(t, observer.ConfigSet(t.Context(), "maxmemory", "0").Err())
	})
	t.Run("subscriptions are lost", func(t *testing.T) {
		require.NoError(t, observer.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
		require.Less(t, fenceTakes(t, replicas[0]), most)
		realtest.Await(t, "early fences", func() bool { return fenceTakes(t, replicas[0]) < realtest.Staleness/2 })
		require.Len(t, observer.HKeys(t.Context(), "session: !holders ").Val(), 1+2, "former names are removed")
	})
	t.Run("the server pauses", func(t *testing.T) {
		server.Pause()
		took := fenceTakes(t, replicas[0])
		server.Continue()
		require.GreaterOrEqual(t, took, realtest.Staleness)
		require.Less(t, took, most)
	})
	t.Run("the caller gives up", func(t *testing.T) {
		server.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, replicas[0].Fence(ctx), context.DeadlineExceeded)
		server.Continue()
	})
}

// TestSubscriptionBeforeThePromotion has a replica subscribe to a server that is promoted only afterwards. What it
// loads from the old master in between is changed there, and the new master takes that in with the whole data, without
// events.
func TestSubscriptionBeforeThePromotion(t *testing.T) {
	t.Parallel()
	old, next := redistest.Start(t), redistest.Start(t, redistest.WithConfig("replicaof 127.0.0.1 1")) // of none yet
	var (
		target   atomic.Pointer[redistest.Server]
		promoted = make(chan struct{})
		dials    atomic.Int32
	)
	target.Store(old)
	client := old.Client(t, func(o *redis.Options) {
		o.PoolSize, o.ContextTimeoutEnabled, o.DialerRetries = 1, true, 1
		o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
			if dials.Add(1) > 2 { // the connection for heartbeats, after one for commands and the subscription
				select {
				case <-promoted:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return new(net.Dialer).DialContext(ctx, network, target.Load().Addr())
		}
	})
	require.NoError(t, client.Ping(t.Context()).Err())
	writer := session.NewRedisStorage(old.Client(t), time.Hour)
	s := session.New("one").With("version", "old")
	require.NoError(t, writer.Store(t.Context(), s))

	target.Store(next)
	st := realtest.Replica(t, client, session.WithRefreshAfter(10*time.Minute))
	realtest.Await(t, "the subscription", func() bool { return st.Stats().Gaps == 1 })
	version := func() string {
		loaded, err := st.Load(t.Context(), "one")
		require.NoError(t, err)
		v, _ := loaded.Get("version")
		return v
	}
	require.Equal(t, "old", version())
	require.NoError(t, writer.Store(t.Context(), s.With("version", "new")))
	changed := time.Now()

	admin := next.Client(t)
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", "127.0.0.1", strings.Split(old.Addr(), ":")[1]).Err())
	realtest.Await(t, "the whole data", func() bool {
		return strings.Contains(admin.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	close(promoted)
	realtest.Await(t, "a lease", func() bool { return st.Stats().Mode == session.ModeLeased })
	time.Sleep(time.Until(changed.Add(realtest.Staleness)))
	require.Equal(t, "new", version())
	require.Zero(t, st.Stats().Events, "the change came without an event")
}

// TestMasterThatComesBack demotes the master, and promotes it again, while no heartbeat reaches it. A change on another
// master in between comes with the whole data, without an event, and the subscription goes on.
func TestMasterThatComesBack(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t), redistest.Start(t)
	link := netfault.Start(t, server.Addr())
	var dials atomic.Int32
	client := server.Client(t, func(o *redis.Options) {
		o.PoolSize, o.ContextTimeoutEnabled, o.DialerRetries = 1, true, 1
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) > 2 { // the connection for heartbeats, after one for commands and the subscription
				addr = link.Addr()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	require.NoError(t, client.Ping(t.Context()).Err())
	st := realtest.Replica(t, client, session.WithRefreshAfter(10*time.Minute))
	s := session.New("one").With("version", "old")
	require.NoError(t, session.NewRedisStorage(server.Client(t), time.Hour).Store(t.Context(), s))
	leased := func() bool { return st.Stats().Mode == session.ModeLeased }
	realtest.Await(t, "a lease", leased)
	version := func() string {
		loaded, err := st.Load(t.Context(), "one")
		require.NoError(t, err)
		v, _ := loaded.Get("version")
		return v
	}
	require.Equal(t, "old", version())
	events := st.Stats().Events

	link.Set(netfault.ToServer, held)
	admin, otherAdmin := server.Client(t), other.Client(t)
	require.NoError(t, admin.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	value, err := admin.Get(t.Context(), realtest.KeyOf("one")).Result()
	require.NoError(t, err)
	require.NoError(t, otherAdmin.Set(t.Context(), realtest.KeyOf("one"), value, time.Hour).Err())
	require.NoError(t, session.NewRedisStorage(otherAdmin, time.Hour).Store(t.Context(), s.With("version", "new")))
	changed := time.Now()
	follow(t, server, other)
	require.NoError(t, admin.ReplicaOf(t.Context(), "NO", "ONE").Err())
	link.Set(netfault.ToServer, netfault.Fault{})

	time.Sleep(time.Until(changed.Add(realtest.Staleness)))
	realtest.Await(t, "a lease", leased)
	require.Equal(t, "new", version())
	require.Equal(t, events, st.Stats().Events, "the change came without an event")
}
