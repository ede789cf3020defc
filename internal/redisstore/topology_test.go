package redisstore

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// clusterOf returns a client of a Cluster that is not there, whose masters have these first slots.
func clusterOf(t *testing.T, firstSlots ...int) *redis.ClusterClient {
	t.Helper()
	var slots []redis.ClusterSlot
	for i, first := range firstSlots {
		last := 16383
		if i+1 < len(firstSlots) {
			last = firstSlots[i+1] - 1
		}
		addr := "127.0.0.1:" + string(rune('1'+i))
		slots = append(slots, redis.ClusterSlot{Start: first, End: last, Nodes: []redis.ClusterNode{{Addr: addr}}})
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:        []string{"127.0.0.1:1"},
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) { return slots, nil },
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestClusterWithoutMastersProvesNothing(t *testing.T) {
	t.Parallel()
	_, err := clusterMasters(t.Context(), clusterOf(t), testHeartbeat)
	require.ErrorIs(t, err, errNoMasters)
}

func TestEachMasterHasAKeyForHeartbeats(t *testing.T) {
	t.Parallel()
	client := clusterOf(t, 0, 5000, 16382, 16383) // two masters have one slot each
	nodes, err := clusterMasters(t.Context(), client, testHeartbeat)
	require.NoError(t, err)
	require.Len(t, nodes, 4)
	key := func(number string) string { return "app: !hb " + number }
	masters, err := assignNumbers(t.Context(), client, nodes, key)
	require.NoError(t, err)
	for _, m := range masters {
		node, err := client.MasterForKey(t.Context(), key(m.number))
		require.NoError(t, err)
		require.Equal(t, m.client, node)
	}
	large := func(node *redis.Client) bool { return strings.HasSuffix(node.Options().Addr, ":2") }
	_, err = assignNumbers(t.Context(), client, slices.DeleteFunc(nodes, large), key)
	require.ErrorIs(t, err, errTopologyChanged)
}

func TestHashTagInThePrefix(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]bool{
		"{app}:": true, "x{app}y": true, "app:": false, "{}:": false, "{app:": false, "a}b{": false, "{{}": true,
	} {
		require.Equal(t, want, hasHashTag(prefix), prefix)
	}
}

func TestWatchOfAClusterWithAHashTag(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	s := storeOf(Config{Client: cluster.Client(t), Prefix: "{app}:", TTL: 60e9})
	next, nextAlive, _ := watching(t, s, testHeartbeat)
	for range 3 {
		require.Equal(t, gap, next())
	}
	nextAlive()
	require.Equal(t, changed(testID, put(t, s, testID)), next())
	nextAlive()
}
