package session

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestHeartbeatsTouchNoSession(t *testing.T) {
	t.Parallel()
	st := NewRedisStorage(redistest.Start(t).Client(t), time.Minute)
	ids := []string{"!hb", "!hb0", "!hb:", "!events"}
	for _, id := range ids {
		require.NoError(t, st.Store(t.Context(), New(id)))
	}
	_, nextAlive, _ := watchLater(t, st, testHeartbeat)
	nextAlive()
	nextAlive()
	for _, id := range ids {
		_, err := st.Load(t.Context(), id)
		require.NoError(t, err)
	}
}

func TestClusterWithoutMastersProvesNothing(t *testing.T) {
	t.Parallel()
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:        []string{"127.0.0.1:1"},
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return nil, nil },
	})
	defer func() { require.NoError(t, client.Close()) }()
	err := NewRedisStorage(client, time.Minute).Watch(t.Context(), testHeartbeat, func(e Event) { t.Errorf("%T", e) })
	require.ErrorIs(t, err, errNoMasters)
}

func TestSessionThatIsOverIsNotProlonged(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	st := NewRedisStorage(client, time.Minute)
	end := time.Now().Add(100 * time.Millisecond)
	require.NoError(t, st.Store(t.Context(), New(testID).WithExpiresAt(end)))
	held, err := st.Load(t.Context(), testID)
	require.NoError(t, err)
	// A replica that ended between the two commands of a Load.
	require.NoError(t, client.GetEx(t.Context(), "session:"+testID, time.Minute).Err())
	require.Eventually(t, func() bool { return held.Expired(time.Now()) }, 10*time.Second, time.Millisecond)
	_, err = st.Load(t.Context(), testID)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, st.Store(t.Context(), held.WithExpiresAt(end.Add(time.Hour))), ErrNotFound)
}

// TestSubscriptionOnADemotedMaster has a name move from one server to another, as behind a load balancer. The commands
// follow it. The subscription stays, on what is a replica now: all that is published still arrives through it, but for
// what was published before it copied the data.
func TestSubscriptionOnADemotedMaster(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t, redistest.WithConfig("repl-diskless-sync-delay 0"))
	ctx := t.Context()
	var target atomic.Value
	target.Store(first.Addr())
	client := redis.NewClient(&redis.Options{
		Addr: first.Addr(), PoolSize: 1, ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target.Load().(string))
		},
	})
	defer func() { require.NoError(t, client.Close()) }()
	const bound = 4 * time.Second // heartbeats outlast the copying
	b := NewRoutingStorage(NewRedisStorage(client, time.Hour), 10, WithMaxStaleness(bound))
	defer func() { require.NoError(t, b.Close()) }()
	require.Eventually(t, func() bool { return b.Stats().Mode == ModeLeased }, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Store(ctx, New(testID).With("v", "old")))

	target.Store(second.Addr())
	require.NoError(t, NewRedisStorage(second.Client(t), time.Hour).Store(ctx, New(testID).With("v", "new")))
	written := time.Now()
	host, port, err := net.SplitHostPort(second.Addr())
	require.NoError(t, err)
	admin := first.Client(t)
	require.NoError(t, admin.Do(ctx, "CLIENT", "KILL", "TYPE", "normal").Err())
	require.NoError(t, admin.ReplicaOf(ctx, host, port).Err())
	require.Eventually(t, func() bool {
		return strings.Contains(admin.Info(ctx, "replication").Val(), "master_link_status:up")
	}, 20*time.Second, time.Millisecond)

	require.Eventually(t, func() bool { return time.Since(written) > bound }, 10*time.Second, time.Millisecond)
	require.Equal(t, outcome{value: "new"}, loadNow(ctx, b))
}
