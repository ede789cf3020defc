package redisstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestRevalidationIsOneCommand(t *testing.T) {
	t.Parallel()
	m, s, log := onMiniredis(t)
	ctx := t.Context()
	_, err := s.Unchanged(ctx, []Version{{ID: "warm-up", Revision: 1}})
	require.NoError(t, err)
	now := time.UnixMilli(1_800_000_000_000)
	m.SetTime(now)
	var versions []Version
	var want []bool
	for i := range 64 {
		id := fmt.Sprint("id-", i)
		versions = append(versions, Version{ID: id, Revision: put(t, s, id)})
		want = append(want, true)
	}
	m.Del(s.key("id-1"))
	_, err = m.Lpush(s.key("id-1"), "another type") // which is no concern of the others
	require.NoError(t, err)
	versions[2].Revision--
	m.Del(s.key("id-3"))
	versions[4].End = now.Add(10 * time.Second)
	versions[5].End = now
	want[1], want[2], want[3], want[5] = false, false, false, false
	m.FastForward(30 * time.Second)
	m.SetTime(now)
	log.Take()
	unchanged, err := s.Unchanged(ctx, versions)
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
	require.Equal(t, []string{"EVALSHA"}, log.Take())
	require.Equal(t, time.Minute, m.TTL(s.key("id-0")))
	require.Equal(t, 30*time.Second, m.TTL(s.key("id-2")), "not this version's to prolong")
	require.Equal(t, 10*time.Second-time.Millisecond, m.TTL(s.key("id-4")))

	_, err = s.Unchanged(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, log.Take())
	m.Close()
	_, err = s.Unchanged(ctx, versions)
	require.Error(t, err)
}

func TestRevalidationNeedsOneServer(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() { require.NoError(t, cluster.Close()) }()
	_, err := newStore(cluster).Unchanged(t.Context(), []Version{{ID: testID, Revision: 1}})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestRevalidationOnAClustersNode(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	m.SetError("CROSSSLOT Keys in request don't hash to the same slot")
	_, err := s.Unchanged(t.Context(), []Version{{ID: testID, Revision: 1}})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "CROSSSLOT")
}
