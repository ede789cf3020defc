package redisstore

import (
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

func TestHeartbeatNeedsAMasterThatTakesWrites(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	nextAlive()
	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	require.ErrorContains(t, <-ended, "NOREPLICAS")
}

func TestHeartbeatThatDoesNotArrive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	// Commands and the subscription reach different servers, as after a failover that only one of them has followed.
	other := redistest.Start(t)
	w := &watch{
		store: newStore(server.Client(t)), heartbeat: 10 * time.Millisecond,
		sink: newRecorder(), proven: make([]time.Time, 1),
	}
	l := newLink(w, 0, master{other.Client(t), "key"})
	close(l.subscribed)
	require.ErrorIs(t, l.sendHeartbeats(t.Context()), errElsewhere)
	require.Zero(t, w.alive)
}

func TestSilentSubscriptionIsGivenUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	_, nextAlive, ended := watching(t, newStore(client), testHeartbeat)
	nextAlive()
	server.Pause()
	defer server.Continue()
	require.Error(t, <-ended)
}
