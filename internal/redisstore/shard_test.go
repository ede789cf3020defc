package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestSlotOfAKey(t *testing.T) {
	t.Parallel()
	for key, slot := range map[string]int{ // of CLUSTER KEYSLOT
		"": 0, "123456789": 12739, "foo{bar}baz": 5061, "bar": 5061, "{}x": 10595, "a{b": 13340, "{a}{b}": 15495, "a": 15495,
	} {
		require.Equal(t, slot, slotOf(key), key)
	}
	for group := range groups {
		require.Equal(t, group*groupSize, slotOf(shardChannel("app:!events:0", group)))
	}
}

func TestShardChannelOfAKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		firsts []int // slots of masters
		slot   int
		want   int // the group; -1 for none
	}{
		"its own":                        {[]int{0}, 511, 1},
		"at its beginning":               {[]int{0}, 512, 2},
		"the one below is elsewhere":     {[]int{0, 300}, 310, groups - 1},
		"below a range in between":       {[]int{0, 300, 400}, 399, -1},
		"a master with a single channel": {[]int{0, 500, 600}, 599, 2},
	} {
		s := storeOf(Config{Client: clusterOf(t, c.firsts...), Prefix: testPrefix, TTL: time.Minute})
		events := "events"
		s.events.Store(&events)
		require.Empty(t, s.announcing(t.Context(), putScript, "key", nil), "it is no Cluster of its own")
		s.shards = true
		key := idsOn(c.slot, 1)[0]
		var want []any
		if c.want >= 0 {
			want = append(want, shardChannel(events, c.want))
		}
		require.Equal(t, want, s.announcing(t.Context(), putScript, s.key(key), nil), name)
		require.Empty(t, s.announcing(t.Context(), loadScript, s.key(key), nil), name)
		s.refused.Store(true)
		require.Empty(t, s.announcing(t.Context(), putScript, s.key(key), nil), name)
	}
}

// TestClusterThatIsAwayFailsAtOnce: before a client has reached a Cluster, each question about a master is one to all
// addresses. A write must not ask one for each shard channel, and a batch not one for each key.
func TestClusterThatIsAwayFailsAtOnce(t *testing.T) {
	t.Parallel()
	noServer := errors.New("no server")
	var dials atomic.Int64
	cluster := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{"127.0.0.1:1"}, MaxRetries: -1, DialerRetries: 1, PoolSize: 1000,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return nil, noServer
		},
	})
	defer func() { require.NoError(t, cluster.Close()) }()
	s := newStore(cluster)
	require.True(t, s.shards)
	require.ErrorIs(t, s.Delete(t.Context(), "id"), noServer)
	require.LessOrEqual(t, dials.Swap(0), int64(2), "one for the channel, one for the write")
	_, err := s.Unchanged(t.Context(), []Use{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}})
	require.ErrorIs(t, err, noServer)
	require.LessOrEqual(t, dials.Load(), int64(2), "one for the groups, one for the scripts")
}

func TestOnlyAClusterHasShardChannels(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() { require.NoError(t, cluster.Close()) }()
	server := redis.NewClient(&redis.Options{})
	defer func() { require.NoError(t, server.Close()) }()
	require.True(t, canShard(cluster, testPrefix))
	require.False(t, canShard(server, testPrefix))
	require.False(t, canShard(clusterOf(t, 0), testPrefix), "behind Sentinel, say")
	require.False(t, canShard(cluster, "{app}:"))
	require.False(t, canShard(cluster, "app}:"))
}

// shardsSince skips a test on a server without shard channels.
func shardsSince(t *testing.T) {
	t.Helper()
	redistest.SkipBefore(t, "7.0.0", "it has no SPUBLISH")
}

// clusterStore returns a store on a Cluster.
func clusterStore(t *testing.T, cluster *redistest.Cluster, change ...func(*redis.ClusterOptions)) *Store {
	t.Helper()
	return newStore(cluster.Client(t, change...))
}

// idsOn returns an id for each of n slots that are spread evenly, from a first one on.
func idsOn(first, n int) (ids []string) {
	for i := range n {
		slot := (first + i*slots/n) % slots
		for j := 0; ; j++ {
			if id := fmt.Sprint("id", j); slotOf(testPrefix+" "+id) == slot {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids
}

// commandCounts returns how often all nodes together have executed each command, also in scripts.
func commandCounts(t *testing.T, s *Store) map[string]int {
	t.Helper()
	var mu sync.Mutex
	counts := make(map[string]int)
	err := realCluster(s.base).ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		for command, calls := range redistest.Calls(t, node) {
			counts[command] += calls
		}
		return nil
	})
	require.NoError(t, err)
	return counts
}

// watcher is a watch of a Cluster, and what it is told.
type watcher struct {
	recorder

	store *Store
	ended chan error
}

// watchCluster watches until the test ends, or the watch does.
func watchCluster(t *testing.T, s *Store) *watcher {
	t.Helper()
	w := &watcher{newRecorder(), s, make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ended <- s.Watch(ctx, testHeartbeat, w)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	w.reported(t)
	return w
}

// reported waits for a proof of an instant after now, and returns what was reported before it.
func (w *watcher) reported(t *testing.T) (events []string) {
	t.Helper()
	for now, asOf := time.Now(), (time.Time{}); !asOf.After(now); {
		select {
		case asOf = <-w.proofs:
		case err := <-w.ended:
			require.FailNow(t, "the watch has ended", "%v", err)
		case <-time.After(20 * time.Second):
			require.FailNow(t, "no proof")
		}
	}
	for len(w.events) > 0 {
		events = append(events, <-w.events)
	}
	return events
}

// writeAll writes each value, and returns the events.
func writeAll(t *testing.T, s *Store, ids []string) (events []string) {
	t.Helper()
	for _, id := range ids {
		events = append(events, changed(id, put(t, s, id)))
	}
	return events
}

// awaitShards waits until no event of these values is broadcast.
func awaitShards(t *testing.T, writer *Store, ids []string, all ...*watcher) {
	t.Helper()
	require.Eventually(t, func() bool {
		before := commandCounts(t, writer)["publish"]
		writeAll(t, writer, ids)
		for _, w := range all {
			w.reported(t)
		}
		return commandCounts(t, writer)["publish"] == before // heartbeats included
	}, 20*time.Second, testHeartbeat)
}

// beginMove begins to move the slot of a key to another master, and moves the key.
func beginMove(t *testing.T, from, to *redistest.Server, key string) {
	t.Helper()
	ctx, source, target, slot := t.Context(), from.Client(t), to.Client(t), slotOf(key)
	sourceID, targetID := source.ClusterMyID(ctx).Val(), target.ClusterMyID(ctx).Val()
	require.NoError(t, target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", sourceID).Err())
	require.NoError(t, source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", targetID).Err())
	host, port, err := net.SplitHostPort(to.Addr())
	require.NoError(t, err)
	require.NoError(t, source.Migrate(ctx, host, port, key, 0, time.Minute).Err())
}

// TestEachEventReachesALinkOnce counts commands and events when all links have joined.
func TestEachEventReachesALinkOnce(t *testing.T) {
	t.Parallel()
	shardsSince(t)
	cluster := redistest.StartCluster(t, 3, 0)
	writer := clusterStore(t, cluster)
	ids := idsOn(100, groups) // one in the middle of each group
	older := func(o *redis.ClusterOptions) { o.Protocol = 2 }
	all := []*watcher{watchCluster(t, clusterStore(t, cluster)), watchCluster(t, clusterStore(t, cluster, older))}
	awaitShards(t, writer, ids, all...)
	published, broadcasts := commandCounts(t, writer)["publish"], all[0].store.Broadcasts()
	require.Positive(t, broadcasts, "those before the links have joined")
	want := writeAll(t, writer, ids)
	for _, id := range ids {
		require.NoError(t, writer.Delete(t.Context(), id))
		want = append(want, removed(id))
	}
	for _, w := range all {
		require.ElementsMatch(t, want, w.reported(t))
	}
	require.Equal(t, published, commandCounts(t, writer)["publish"])
	require.Equal(t, broadcasts, all[0].store.Broadcasts())
}

// TestPlainLinkMissesNothing has one link that may not join shard channels, beside one that has. When a proof arrives
// at the plain one, all events from before it have.
func TestPlainLinkMissesNothing(t *testing.T) {
	t.Parallel()
	shardsSince(t)
	cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig("user plain on >plain ~* &* +@all -ssubscribe"))
	writer := clusterStore(t, cluster)
	ids := idsOn(100, groups)
	sharded := watchCluster(t, clusterStore(t, cluster))
	awaitShards(t, writer, ids, sharded)
	asPlain := func(o *redis.ClusterOptions) { o.Username, o.Password = "plain", "plain" }
	plain := watchCluster(t, clusterStore(t, cluster, asPlain))
	for range 3 {
		for _, id := range ids {
			require.NoError(t, writer.Delete(t.Context(), id))
		}
		want := writeAll(t, writer, ids)
		require.Subset(t, plain.reported(t), want)
		require.Subset(t, sharded.reported(t), want)
	}
	require.Eventually(t, func() bool { // it has asked, and does without
		plain.reported(t)
		return plain.store.refused.Load()
	}, 20*time.Second, testHeartbeat)
	want := writeAll(t, plain.store, ids)
	require.Subset(t, plain.reported(t), want)
	require.Positive(t, plain.store.Broadcasts())
}

// TestJoining goes through the answers of a server to a link.
func TestJoining(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() { require.NoError(t, cluster.Close()) }()
	s := newStore(cluster)
	w := &watch{store: s, events: "events", name: "name"}
	l := newLink(w, 0, master{number: "7"})
	require.Equal(t, slotOf(s.heartbeatKey("name", "7")), slotOf(l.shard))
	here, elsewhere := []redis.ClusterNode{{Addr: "here"}}, []redis.ClusterNode{{Addr: "elsewhere"}}
	home := slotOf(l.shard)
	w.slots = []redis.ClusterSlot{
		{Start: 0, End: 255, Nodes: elsewhere}, {Start: 256, End: 600, Nodes: here}, {Start: home, End: home, Nodes: here},
	}
	require.Greater(t, home, 600)
	require.False(t, l.refusal(reply("NOPERM")), "nothing was asked for")
	require.Equal(t, []string{l.shard}, l.toJoin())
	require.Empty(t, l.toJoin(), "until the answer is there")
	require.False(t, l.refusal(context.Canceled), "no answer")
	require.True(t, l.refusal(reply("CLUSTERDOWN for a moment")))
	require.Equal(t, []string{l.shard}, l.toJoin())
	require.True(t, l.refusal(reply("NOPERM")))
	require.True(t, s.refused.Load())
	for range maxIdle {
		require.Empty(t, l.toJoin())
	}
	require.Equal(t, []string{l.shard}, l.toJoin())
	confirm := func(kind, channel string) {
		require.NoError(t, l.take(&redis.Subscription{Kind: kind, Channel: channel, Count: 2}))
	}
	confirm("ssubscribe", l.shard)
	require.False(t, s.refused.Load())
	require.True(t, l.isJoined())
	first, second := shardChannel("events", 1), shardChannel("events", 2)
	require.Equal(t, []string{first, second}, l.toJoin())
	require.True(t, l.refusal(reply("MOVED 256 elsewhere")))
	confirm("ssubscribe", second)
	require.Equal(t, []string{first}, l.toJoin())
	require.True(t, l.refusal(reply("NOPERM for this one")))
	require.True(t, s.refused.Load())
	for range maxIdle {
		require.Empty(t, l.toJoin())
	}
	require.Equal(t, []string{first}, l.toJoin())
	confirm("ssubscribe", first)
	require.False(t, s.refused.Load())
	require.Empty(t, l.toJoin())
	confirm("sunsubscribe", second) // its slot has moved, and comes back
	require.Equal(t, []string{second}, l.toJoin())
	confirm("ssubscribe", second)
	confirm("sunsubscribe", l.shard)
	require.False(t, l.isJoined())
	require.False(t, l.confirmed, "none of this confirms the subscription")
}

// TestLinkJoinsAfterAWhile: until all masters know a new one, and all watches, its events are broadcast.
func TestLinkJoinsAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		noServer := errors.New("no server")
		const address = "127.0.0.1:1" // the resolver must not begin in a bubble
		client := redis.NewClient(&redis.Options{
			Addr: address, DialerRetries: 1,
			Dialer: func(context.Context, string, string) (net.Conn, error) { return nil, noServer },
		})
		defer func() { require.NoError(t, client.Close()) }()
		w := &watch{store: newStore(client), heartbeat: time.Second, known: []string{"new", "old"}}
		start := time.Now()
		for i, learns := range []time.Duration{0, 90 * time.Second} {
			control := redis.NewClient(&redis.Options{Addr: address})
			defer func() { require.NoError(t, control.Close()) }()
			control.AddHook(namesMasters{start.Add(learns), w.known})
			w.links = append(w.links, newLink(w, i, master{control: control}))
		}
		for _, l := range w.links {
			l.subscription = client.Subscribe(t.Context())
			defer func() { require.NoError(t, l.subscription.Close()) }()
			close(l.subscribed)
		}
		var joining sync.WaitGroup
		for _, l := range w.links {
			joining.Go(func() {
				assert.ErrorIs(t, l.join(t.Context()), noServer)
				assert.Equal(t, 90*time.Second+2*w.timeout(), time.Since(start))
			})
		}
		joining.Wait()
	})
}

// namesMasters answers for a master, which learns of the first of all masters at an instant.
type namesMasters struct {
	learns time.Time
	all    []string
}

// DialHook implements [redis.Hook].
func (namesMasters) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (namesMasters) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements [redis.Hook].
func (n namesMasters) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		named := n.all
		if time.Now().Before(n.learns) {
			named = named[1:]
		}
		var slots []redis.ClusterSlot
		for _, address := range named {
			slots = append(slots, redis.ClusterSlot{Nodes: []redis.ClusterNode{{Addr: address}}})
		}
		answer, _ := cmd.(*redis.ClusterSlotsCmd)
		answer.SetVal(slots)
		return nil
	}
}
