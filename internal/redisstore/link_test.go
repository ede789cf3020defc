package redisstore

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestHeartbeatsTouchNoValue(t *testing.T) {
	t.Parallel()
	s := newStore(redistest.Start(t).Client(t))
	ids := []string{"!hb", "!hb0", "!hb:", "!events"}
	for _, id := range ids {
		put(t, s, id)
	}
	_, nextAlive, _ := watching(t, s, testHeartbeat)
	nextAlive()
	nextAlive()
	for _, id := range ids {
		_, err := s.Get(t.Context(), id)
		require.NoError(t, err)
	}
}

// untilAfter waits for a proof of an instant after now.
func untilAfter(nextAlive func() time.Time) {
	now, asOf := time.Now(), nextAlive()
	for !asOf.After(now) {
		asOf = nextAlive()
	}
}

// TestHeartbeatNeedsAMasterThatTakesWrites takes a master's replicas away, and gives them back.
func TestHeartbeatNeedsAMasterThatTakesWrites(t *testing.T) {
	t.Parallel()
	redistest.SkipBefore(t, "6.2.7", "min-replicas-to-write does not refuse scripts")
	client := redistest.Start(t).Client(t)
	s := newStore(client)
	r := newRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, testHeartbeat, r) }()
	require.Equal(t, gap, <-r.events)
	<-r.proofs
	require.NoError(t, client.ConfigSet(ctx, "min-replicas-to-write", "1").Err())
	refusing := time.Now()
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(10 * testHeartbeat):
	}
	for len(r.proofs) > 0 {
		require.False(t, (<-r.proofs).After(refusing), "no proof while writes are refused")
	}
	require.NoError(t, client.ConfigSet(ctx, "min-replicas-to-write", "0").Err())
	accepting := time.Now()
	asOf := <-r.proofs
	for !asOf.After(accepting) {
		asOf = <-r.proofs
	}
	require.Empty(t, r.events, "no second gap")
	cancel()
	require.Error(t, <-ended)
}

// TestReplacedConnectionEndsTheWatch: the client confirms the channels once more when it has replaced the connection by
// itself. Heartbeats for the former one may reach the new one through a replica.
func TestReplacedConnectionEndsTheWatch(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	l := newLink(&watch{store: new(Store), sink: r, proven: make([]time.Time, 1)}, 0, master{})
	require.NoError(t, l.take(&redis.Subscription{Kind: "subscribe", Count: 1}))
	require.Empty(t, r.events)
	require.NoError(t, l.take(&redis.Subscription{Kind: "subscribe", Count: 2}))
	require.Equal(t, gap, <-r.events)
	<-l.subscribed
	require.ErrorIs(t, l.take(&redis.Subscription{Kind: "subscribe", Count: 1}), errReplaced)
}

func TestHeartbeatThatDoesNotArrive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	// Commands and the subscription reach different servers, as after a failover that only one of them has followed.
	other := redistest.Start(t)
	// A monitor gets everything there. PUBLISH counts it among the receivers.
	monitor := other.Client(t).PSubscribe(t.Context(), "*")
	defer func() { require.NoError(t, monitor.Close()) }()
	_, err := monitor.Receive(t.Context())
	require.NoError(t, err)
	w := &watch{
		store: newStore(server.Client(t)), heartbeat: 10 * time.Millisecond,
		sink: newRecorder(), proven: make([]time.Time, 1),
	}
	l := newLink(w, 0, master{client: server.Client(t), control: other.Client(t), number: "0"})
	close(l.subscribed)
	require.ErrorIs(t, l.sendHeartbeats(t.Context()), errElsewhere)
	require.Zero(t, w.alive)
}

// TestHeartbeatNeedsTheSubscription: behind an address that hides several servers, a shard channel reaches a link whose
// subscription to events is on another server. Events of that one may come later.
func TestHeartbeatNeedsTheSubscription(t *testing.T) {
	t.Parallel()
	shardsSince(t)
	client := redistest.Start(t).Client(t)
	receivers := func() int64 {
		reply, err := runScript(t.Context(), client, heartbeatScript, []string{"key"}, "channel", "1", "shard")
		require.NoError(t, err)
		d, err := parseDelivery(reply)
		require.NoError(t, err)
		return d.receivers
	}
	subscribe := func(subscription *redis.PubSub) {
		t.Cleanup(func() { require.NoError(t, subscription.Close()) })
		_, err := subscription.Receive(t.Context())
		require.NoError(t, err)
	}
	subscribe(client.SSubscribe(t.Context(), "shard"))
	require.Zero(t, receivers())
	subscribe(client.Subscribe(t.Context(), "channel"))
	require.EqualValues(t, 1, receivers())
}

// TestHeartbeatsThatNeverArrive has a server deliver heartbeats that do not arrive.
func TestHeartbeatsThatNeverArrive(t *testing.T) {
	t.Parallel()
	w := &watch{heartbeat: time.Hour, store: new(Store)}
	l := newLink(w, 0, master{})
	for number := range 2 * maxPending {
		l.expect(&heartbeat{number: strconv.Itoa(number)})
		require.LessOrEqual(t, len(l.pending), maxPending)
	}
	newest := l.pending[maxPending-1]
	l.heardAt = time.Now().Add(-w.timeout() - time.Hour)
	require.NoError(t, l.silent(), "that a heartbeat fails proves nothing")
	newest.deliveredAt = time.Now()
	require.NoError(t, l.silent(), "it may be on its way")
	newest.deliveredAt = l.heardAt
	require.ErrorIs(t, l.silent(), errNoHeartbeat)
	newest.arrived = true
	require.NoError(t, l.silent())
	newest.arrived = false
	l.heard()
	require.NoError(t, l.silent(), "a subscription on which something arrives is only slow")
}

// TestDemotedMasterEndsTheWatch makes the server a replica: what it misses then, no event tells.
func TestDemotedMasterEndsTheWatch(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	nextAlive()
	require.NoError(t, client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	require.ErrorContains(t, <-ended, "READONLY")
}

// TestPauseCostsNoEpoch stops the server for longer than all time-outs, and more than once kills the connections for
// heartbeats. The subscription goes on.
func TestPauseCostsNoEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newStore(server.Client(t))
	next, nextAlive, ended := watching(t, s, testHeartbeat)
	require.Equal(t, gap, next())
	untilAfter(nextAlive)
	admin := server.Client(t)
	for range 2 {
		require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
		untilAfter(nextAlive)
	}
	server.Pause()
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(5 * time.Second):
	}
	server.Continue()
	continued := time.Now()
	untilAfter(nextAlive)
	require.Less(t, time.Since(continued), 3*time.Second)
	require.Equal(t, changed(testID, put(t, s, testID)), next(), "no second gap")
}

// TestBrokenSubscriptionEndsTheWatch kills the connection of the subscription only.
func TestBrokenSubscriptionEndsTheWatch(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	nextAlive()
	require.NoError(t, client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
	require.Error(t, <-ended)
}

// TestWatchEndsAtOnce cancels a watch while the server does not answer its heartbeat, which would take S.
func TestWatchEndsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, ended := newRecorder(), make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	s := newStore(server.Client(t))
	go func() { ended <- s.Watch(ctx, 2*time.Second, r) }()
	first := <-r.proofs
	server.Pause()
	defer server.Continue()
	time.Sleep(time.Until(first.Add(2500 * time.Millisecond))) // now the second heartbeat has no answer
	cancel()
	canceled := time.Now()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Less(t, time.Since(canceled), time.Second)
}
