package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// testHeartbeat leaves a machine under load the time for it.
const testHeartbeat = 100 * time.Millisecond

// watchLater watches in the background until the test ends, or that fails. next gives the next event that is no Alive,
// nextAlive the next that is one.
func watchLater(t *testing.T, w Watcher, heartbeat time.Duration) (
	next func() Event, nextAlive func() Alive, ended <-chan error,
) {
	t.Helper()
	events, proofs, failed := make(chan Event, 1000), make(chan Alive, 1000), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	watched := later(func() error {
		defer close(events)
		defer close(proofs)
		err := w.Watch(ctx, heartbeat, func(e Event) {
			if alive, ok := e.(Alive); ok {
				proofs <- alive
			} else {
				events <- e
			}
		})
		failed <- err
		return err
	})
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-watched)
	})
	next = func() Event {
		e, ok := <-events
		require.True(t, ok, "watching has ended")
		return e
	}
	nextAlive = func() Alive {
		alive, ok := <-proofs
		require.True(t, ok, "watching has ended")
		return alive
	}
	return next, nextAlive, failed
}

func TestRedisWatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, client := range map[string]*redis.Client{
		"RESP3":            server.Client(t),
		"RESP2":            server.Client(t, func(o *redis.Options) { o.Protocol = 2 }),
		"another database": server.Client(t, func(o *redis.Options) { o.DB = 3 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := NewRedisStorage(client, time.Minute, WithKeyPrefix(name+":"))
			next, nextAlive, _ := watchLater(t, st, testHeartbeat)
			require.Equal(t, Gap{}, next())
			before := time.Now()
			nextAlive() // may have been sent before the write

			s := New(testID)
			require.NoError(t, st.Store(t.Context(), s))
			require.Equal(t, Changed{testID, s.Revision()}, next())
			require.NoError(t, st.Delete(t.Context(), testID))
			require.Equal(t, Removed{testID}, next())
			alive := nextAlive()
			for !alive.AsOf.After(before) {
				alive = nextAlive()
			}
			require.NoError(t, client.Publish(t.Context(), st.events, "from a later version").Err())
			require.Equal(t, Gap{}, next())
		})
	}
}

func TestRedisWatchInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := bubbleRedis(t)
		t.Cleanup(m.Close)
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		st := NewRedisStorage(client, time.Minute)
		next, nextAlive, _ := watchLater(t, st, time.Second)
		require.Equal(t, Gap{}, next())
		start := time.Now()
		require.Equal(t, start, nextAlive().AsOf)
		log.take()
		for i := range 10 {
			require.Equal(t, start.Add(time.Duration(i+1)*time.Second), nextAlive().AsOf)
		}
		require.Len(t, log.take(), 10, "one command for each heartbeat")
	})
}

func TestHeartbeatNeedsAMasterThatTakesWrites(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	st := NewRedisStorage(client, time.Minute)
	_, nextAlive, ended := watchLater(t, st, testHeartbeat)
	nextAlive()
	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	err := <-ended
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "NOREPLICAS")
}

func TestHeartbeatThatDoesNotArrive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	// Commands and the subscription reach different servers, as after a failover that only one of them has followed.
	other := redistest.Start(t)
	client := server.Client(t)
	st := NewRedisStorage(client, time.Minute)
	w := &redisWatch{storage: st, heartbeat: 10 * time.Millisecond, fn: func(Event) {}, proven: make([]time.Time, 1)}
	l := newLink(w, 0, master{other.Client(t), "key"})
	close(l.ready)
	require.ErrorIs(t, l.beat(t.Context()), errElsewhere)
	require.Zero(t, w.alive)
}

func TestSilentSubscriptionIsGivenUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	st := NewRedisStorage(client, time.Minute)
	_, nextAlive, ended := watchLater(t, st, testHeartbeat)
	nextAlive()
	server.Pause()
	defer server.Continue()
	require.ErrorIs(t, <-ended, ErrUnavailable)
}

func TestWatchThroughAnUnknownClient(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { require.NoError(t, ring.Close()) }()
	err := NewRedisStorage(ring, time.Minute).Watch(t.Context(), time.Second, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Panics(t, func() { _ = NewRedisStorage(ring, time.Minute).Watch(t.Context(), 0, nil) })
}

func TestAliveIsTheOldestOfTheAnswers(t *testing.T) {
	t.Parallel()
	var got []Event
	w := &redisWatch{fn: func(e Event) { got = append(got, e) }, proven: make([]time.Time, 3)}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	w.prove(0, at(10))
	w.prove(1, at(20))
	require.Empty(t, got, "one has proven nothing yet")
	w.prove(2, at(15))
	w.prove(0, at(12))
	w.prove(2, at(30))
	w.prove(0, at(40))
	require.Equal(t, []Event{Alive{at(10)}, Alive{at(12)}, Alive{at(20)}}, got)
}

func FuzzParseEvent(f *testing.F) {
	for _, payload := range []string{
		"", "C", "R", "Rid", "C0000000000000001id", "C0000000000000000id", "Cfffffffffffffffffid", "Xid", "R a",
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		switch e := parseEvent(payload).(type) {
		case Changed:
			require.NoError(t, ValidateID(e.ID))
			require.Equal(t, payload, fmt.Sprintf("C%016x%s", e.Revision, e.ID))
		case Removed:
			require.NoError(t, ValidateID(e.ID))
			require.Equal(t, payload, "R"+e.ID)
		case Gap:
		default:
			t.Errorf("%T", e)
		}
	})
}
