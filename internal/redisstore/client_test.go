package redisstore

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// wrapping is a client of the kind that services write to have all commands traced, say.
type wrapping struct{ redis.UniversalClient }

func (w wrapping) Unwrap() redis.UniversalClient { return w.UniversalClient }

func TestClientsThatCannotKeepThePromises(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	client := redis.NewClient(&redis.Options{})
	pipelining, err := client.AutoPipeline()
	require.NoError(t, err)
	for _, c := range []redis.UniversalClient{ring, client} {
		defer func() { require.NoError(t, c.Close()) }()
	}
	var forgotten *redis.Client
	for reason, c := range map[string]redis.UniversalClient{
		"is nil": nil, "the client is nil": forgotten, "client is nil": wrapping{},
		"shard": ring, "of a shard": wrapping{ring},
		"Unwrap() redis.UniversalClient":         struct{ redis.UniversalClient }{client},
		"a *redis.AutoPipeliner does":            pipelining,
		"Unwrap() redis.UniversalClient; for in": struct{ *redis.Client }{client},
	} {
		_, err := New(Config{Client: c})
		require.ErrorContains(t, err, reason)
	}
}

func TestWrappedClientIsWatched(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t, func(o *redis.Options) { o.DB = 3 })
	s, inner := newStore(wrapping{wrapping{client}}), newStore(client)
	next, nextAlive, _ := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	nextAlive()
	require.Equal(t, changed(testID, put(t, inner, testID)), next())
}

// TestHeartbeatsDoNotWaitForTheLoad blocks both connections of a client.
func TestHeartbeatsDoNotWaitForTheLoad(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	other := server.Client(t)
	client := server.Client(t, func(o *redis.Options) { o.PoolSize = 2 })
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() { assert.NoError(t, client.BLPop(t.Context(), 0, "end").Err()) })
	}
	require.Eventually(t, func() bool { return blockedClients(t, other) == 2 }, 10*time.Second, time.Millisecond)
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	for range 20 {
		nextAlive()
	}
	require.Empty(t, ended)
	require.Equal(t, 2, blockedClients(t, other))
	require.NoError(t, other.LPush(t.Context(), "end", 1, 2).Err())
	load.Wait()
}

func blockedClients(t *testing.T, client *redis.Client) (n int) {
	t.Helper()
	info, err := client.Info(t.Context(), "clients").Result()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(info, "blocked_clients:")
	_, err = fmt.Sscan(rest, &n)
	require.NoError(t, err)
	return n
}

// TestWatchFollowsSentinel has a client of NewFailoverClient be told of another master, while the old one goes on.
func TestWatchFollowsSentinel(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	var target atomic.Value
	target.Store(first.Addr())
	client := first.Client(t, func(o *redis.Options) {
		o.Addr = failoverAddr
		o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target.Load().(string))
		}
	})
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	nextAlive()
	target.Store(second.Addr())
	require.ErrorIs(t, <-ended, errMasterChanged)
}

// named returns a client whose ClusterSlots name the address in target, and whose connections select a database, as
// redis.NewFailoverClusterClient makes it.
func named(t *testing.T, target *atomic.Value, database int) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: func(context.Context) (slots []redis.ClusterSlot, err error) {
			for i, addr := range target.Load().([]string) {
				slots = append(slots, redis.ClusterSlot{
					Start: 5000 * i, End: 16383, Nodes: []redis.ClusterNode{{Addr: addr}},
				})
			}
			return slots, nil
		},
		OnConnect: func(ctx context.Context, conn *redis.Conn) error { return conn.Select(ctx, database).Err() },
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// TestNamedMasterIsOneServer checks that a client that is told where the master is agrees with an ordinary one on the
// channel, and that its watch ends when another master is named, while the old one goes on.
func TestNamedMasterIsOneServer(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	var target atomic.Value
	target.Store([]string{first.Addr()})
	s := newStore(named(t, &target, 3))
	ordinary := newStore(first.Client(t, func(o *redis.Options) { o.DB = 3 }))
	next, nextAlive, ended := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	nextAlive()
	require.Equal(t, changed(testID, put(t, ordinary, testID)), next())
	require.NoError(t, s.Delete(t.Context(), testID))
	require.Equal(t, removed(testID), next())
	_, err := ordinary.Get(t.Context(), testID)
	require.ErrorIs(t, err, ErrMissing)

	target.Store([]string{second.Addr()})
	require.ErrorIs(t, <-ended, errMasterChanged)
}

func TestSeveralNamedMastersAreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var target atomic.Value
	target.Store([]string{server.Addr(), server.Addr() + "0"})
	s := newStore(named(t, &target, 0))
	_, err := s.Get(t.Context(), testID)
	require.ErrorIs(t, err, errSeveralMasters)
	_, err = s.Put(t.Context(), testID, Write{Lifetime: Lifetime{End: time.Time{}}})
	require.ErrorIs(t, err, errSeveralMasters)
	_, _, err = s.Take(t.Context(), testID)
	require.ErrorIs(t, err, errSeveralMasters)
	require.ErrorIs(t, s.Delete(t.Context(), testID), errSeveralMasters)
	_, err = s.Unchanged(t.Context(), []Use{{ID: testID, Revision: 1}})
	require.ErrorIs(t, err, errSeveralMasters)
	require.ErrorIs(t, s.Watch(t.Context(), testHeartbeat, newRecorder()), errSeveralMasters)
}

// TestDatabaseThatMayNotBeAskedFor has a user without CLIENT INFO.
func TestDatabaseThatMayNotBeAskedFor(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "-client").Err())
	var target atomic.Value
	target.Store([]string{server.Addr()})
	s := newStore(named(t, &target, 0))
	err := s.Delete(t.Context(), testID)
	require.ErrorContains(t, err, "CLIENT INFO")
	require.ErrorContains(t, err, "NOPERM")
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "+client|info").Err())
	require.NoError(t, s.Delete(t.Context(), testID))
}

// TestConnectionsOfAWatch counts the connections that a watch costs, and that all end with it.
func TestConnectionsOfAWatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	observer := server.Client(t, func(o *redis.Options) { o.PoolSize = 1 })
	connections := func() int {
		list, err := observer.ClientList(t.Context()).Result()
		require.NoError(t, err)
		return strings.Count(list, "\n")
	}
	before := connections()
	client := server.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, ended := newRecorder(), make(chan error)
	go func() { ended <- newStore(client).Watch(ctx, testHeartbeat, r) }()
	<-r.proofs
	require.Equal(t, 2, connections()-before, "one subscription, one for heartbeats")
	cancel()
	stopped := time.Now()
	require.Error(t, <-ended)
	require.Less(t, time.Since(stopped), 5*time.Second)
	require.Eventually(t, func() bool { return connections() == before }, time.Second, time.Millisecond)
}
