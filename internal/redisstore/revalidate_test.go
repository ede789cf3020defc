package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestRevalidationIsOneCommand(t *testing.T) {
	t.Parallel()
	m, s, log := onMiniredis(t)
	ctx := t.Context()
	_, err := s.Unchanged(ctx, []Use{{ID: "warm-up", Revision: 1}})
	require.NoError(t, err)
	now := time.UnixMilli(1_800_000_000_000)
	m.SetTime(now)
	var uses []Use
	var want []bool
	for i := range 64 {
		id := fmt.Sprint("id-", i)
		end := noEnd
		switch i {
		case 4:
			end = now.Add(50 * time.Second)
		case 5:
			end = now.Add(time.Second)
		}
		revision, err := s.Put(ctx, id, Write{Data: []byte("data"), Lifetime: Lifetime{End: end}})
		require.NoError(t, err)
		uses = append(uses, Use{ID: id, Revision: revision})
		want = append(want, true)
	}
	m.Del(s.key("id-1"))
	_, err = m.Lpush(s.key("id-1"), "another type") // which is no concern of the others
	require.NoError(t, err)
	uses[2].Revision--
	m.Del(s.key("id-3"))
	m.SetTTL(s.key("id-5"), time.Hour) // past its end
	uses[6].Idle = 10 * time.Second
	uses[7].Idle = 40 * time.Second // before the value was stored
	uses[8].Idle = time.Minute
	want[1], want[2], want[3], want[5], want[8] = false, false, false, false, false
	m.FastForward(30 * time.Second)
	m.SetTime(now.Add(2 * time.Second))
	log.Take()
	unchanged, err := s.Unchanged(ctx, uses)
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
	require.Equal(t, []string{"EVALSHA"}, log.Take())
	require.Equal(t, time.Minute, m.TTL(s.key("id-0")))
	require.Equal(t, 30*time.Second, m.TTL(s.key("id-2")), "not this version's to prolong")
	require.Equal(t, 48*time.Second-time.Millisecond, m.TTL(s.key("id-4")), "it ends then")
	require.Equal(t, 50*time.Second, m.TTL(s.key("id-6")))
	require.Equal(t, 30*time.Second, m.TTL(s.key("id-7")), "what is there is never shortened")
	require.Equal(t, 30*time.Second, m.TTL(s.key("id-8")))
	log.Take()

	_, err = s.Unchanged(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, log.Take())
	m.Close()
	_, err = s.Unchanged(ctx, uses)
	require.Error(t, err)
}

// TestRevalidationOnACluster asks for values on all masters, one of which has stopped. The others' are kept alive.
func TestRevalidationOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig("cluster-require-full-coverage no"))
	client := cluster.Client(t, func(o *redis.ClusterOptions) { o.MaxRetries, o.DialerRetries = -1, 1 })
	s := newStore(client)
	var uses []Use
	onFirst := make([]bool, 30)
	first := cluster.Nodes[0]
	for i := range onFirst {
		id := fmt.Sprint("id-", i)
		uses = append(uses, Use{ID: id, Revision: put(t, s, id), Idle: 20 * time.Second})
		onFirst[i] = cluster.Master(t, s.key(id)) == first
	}
	cluster.Shift(t, 30*time.Second)
	uses = append(uses, Use{ID: "missing", Revision: 1}, Use{ID: "id-0", Revision: 1})
	all := slices.Repeat([]bool{true}, 30)
	unchanged, err := s.Unchanged(t.Context(), uses)
	require.NoError(t, err)
	require.Equal(t, append(all, false, false), unchanged)
	require.InDelta(t, 40*time.Second, client.PTTL(t.Context(), s.key("id-7")).Val(), float64(2*time.Second))

	first.Kill()
	for i := range onFirst {
		uses[i].Idle = 10 * time.Second
	}
	_, err = s.Unchanged(t.Context(), uses)
	require.Error(t, err, "of some it is not known")
	alive := slices.Index(onFirst, false)
	left := client.PTTL(t.Context(), s.key(uses[alive].ID)).Val()
	require.InDelta(t, 50*time.Second, left, float64(2*time.Second), "the others are kept alive all the same")
	for _, node := range cluster.Nodes {
		node.Kill()
	}
	_, err = s.Unchanged(t.Context(), uses)
	require.Error(t, err)
}

// TestRevalidationOfOneSlot asks for values in one slot of a Cluster, and for one in another slot.
func TestRevalidationOfOneSlot(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	s := newStore(cluster.Client(t))
	var uses []Use
	for i := range 20 {
		id := fmt.Sprint("{tag}", i)
		uses = append(uses, Use{ID: id, Revision: put(t, s, id)})
	}
	uses = slices.Insert(uses, 10, Use{ID: testID, Revision: put(t, s, testID)})
	uses[5].Revision++
	want := slices.Repeat([]bool{true}, 21)
	want[5] = false
	for range 2 { // the first time the servers do not know the script
		before := commandCounts(t, s)
		unchanged, err := s.Unchanged(t.Context(), uses)
		require.NoError(t, err)
		require.Equal(t, want, unchanged)
		counts := commandCounts(t, s)
		require.Equal(t, before["evalsha"]+2, counts["evalsha"])
		require.LessOrEqual(t, counts["eval"], before["eval"]+2)
	}
}

// TestScriptsWithSeveralKeysAreRefused is about a plain client of a Cluster's node, and services that have their own
// words for it.
func TestScriptsWithSeveralKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{
		"CROSSSLOT Keys in request don't hash to the same slot",
		"ERR bad lua script for redis cluster, all the keys that the script uses should be passed using the KEYS array",
		"ERR eval/evalsha command keys must be in same slot",
		"ERR of another kind",
	} {
		m, s, log := onMiniredis(t)
		var uses []Use
		for i := range 5 {
			id := fmt.Sprint("id-", i)
			uses = append(uses, Use{ID: id, Revision: put(t, s, id)})
		}
		m.Server().SetPreHook(func(peer *server.Peer, command string, args ...string) bool {
			if strings.HasPrefix(command, "EVAL") && args[1] != "1" {
				peer.WriteError(refusal)
				return true
			}
			return log.Hook(peer, command, args...)
		})
		uses[3].Revision--
		log.Take()
		want := []bool{true, true, true, false, true}
		unchanged, err := s.Unchanged(t.Context(), uses)
		require.NoError(t, err)
		require.Equal(t, want, unchanged)
		require.Equal(t, slices.Concat(slices.Repeat([]string{"EVALSHA"}, 5), slices.Repeat([]string{"EVAL"}, 5)), log.Take())

		m.Server().SetPreHook(func(peer *server.Peer, command string, args ...string) bool {
			require.True(t, !strings.HasPrefix(command, "EVAL") || args[1] == "1", "not tried again")
			return log.Hook(peer, command, args...)
		})
		unchanged, err = s.Unchanged(t.Context(), uses)
		require.NoError(t, err)
		require.Equal(t, want, unchanged)
		require.Equal(t, slices.Repeat([]string{"EVALSHA"}, 5), log.Take())
	}
}

// TestRevalidationWhileASlotMoves asks for values in a slot of which some are on either master, or gone. A master
// executes no script for several keys of such a slot.
func TestRevalidationWhileASlotMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	s := newStore(cluster.Client(t))
	ctx := t.Context()
	var uses []Use
	for i := range 4 {
		id := fmt.Sprint("{tag}", i)
		uses = append(uses, Use{ID: id, Revision: put(t, s, id)})
	}
	uses = append(uses, Use{ID: "other", Revision: put(t, s, "other")})
	from, to := cluster.Master(t, s.key(uses[0].ID)), cluster.Nodes[0]
	if from == to {
		to = cluster.Nodes[1]
	}
	beginMove(t, from, to, s.key(uses[1].ID))
	require.NoError(t, s.Delete(ctx, uses[2].ID))
	unchanged, err := s.Unchanged(ctx, uses)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, false, true, true}, unchanged)
}
