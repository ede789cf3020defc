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
)

func TestEveryOperationIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	_, client, log := miniRedis(t)
	st := NewRedisStorage(client, time.Minute)
	s := New(testID)
	load := func() error {
		_, err := st.Load(t.Context(), testID)
		return err
	}
	for _, step := range []struct {
		name string
		call func() error
		want []string
	}{
		{"the first use of a script", func() error { return st.Create(t.Context(), s) }, []string{"EVALSHA", "EVAL"}},
		{"store", func() error { return st.Store(t.Context(), s) }, []string{"EVALSHA"}},
		{"load", load, []string{"GETEX"}},
		{"delete, first use", func() error { return st.Delete(t.Context(), testID) }, []string{"EVALSHA", "EVAL"}},
		{"delete", func() error { return st.Delete(t.Context(), testID) }, []string{"EVALSHA"}},
		{"create", func() error { return st.Create(t.Context(), s) }, []string{"EVALSHA"}},
		{"take, first use", func() error { _, err := st.Take(t.Context(), testID); return err }, []string{"EVALSHA", "EVAL"}},
		{"create again", func() error { return st.Create(t.Context(), s) }, []string{"EVALSHA"}},
		{"take", func() error { _, err := st.Take(t.Context(), testID); return err }, []string{"EVALSHA"}},
		{"sweep", func() error { return st.DeleteExpired(t.Context(), time.Now()) }, nil},
	} {
		require.NoError(t, step.call(), step.name)
		require.Equal(t, step.want, log.take(), step.name)
	}
}

func TestStoredValueIsReadable(t *testing.T) {
	t.Parallel()
	m, client, _ := miniRedis(t)
	st := NewRedisStorage(client, time.Minute, WithKeyPrefix("app:"))
	s := New("abc").WithType(TypeStreamable).WithPrincipal("https://issuer.example|user-1").With("backend_url", "http://b")
	require.NoError(t, st.Store(t.Context(), s))
	value, err := m.Get("app:abc")
	require.NoError(t, err)
	require.Regexp(t, `^1[0-9a-f]{16}\{"id":"abc","type":"streamable",`+
		`"principal":"https://issuer.example\|user-1","created_at":"[^"]+Z","updated_at":"[^"]+Z",`+
		`"metadata":\{"backend_url":"http://b"\}\}$`, value)
	require.Equal(t, header(s.Revision()), value[:headerLength])
	require.Equal(t, time.Minute, m.TTL("app:abc"))
}

func TestRevisionIsServerTimeAndGrows(t *testing.T) {
	t.Parallel()
	m, client, _ := miniRedis(t)
	st := NewRedisStorage(client, time.Minute)
	at := time.UnixMicro(1_800_000_000_000_123)
	m.SetTime(at)
	s := New(testID)
	for i := range 3 {
		require.NoError(t, st.Store(t.Context(), s))
		require.EqualValues(t, at.UnixMicro()+int64(i), s.Revision(), "the clock stands still")
	}
	m.SetTime(at.Add(-time.Hour)) // a failover to a server whose clock is behind
	require.NoError(t, st.Store(t.Context(), s))
	require.EqualValues(t, at.UnixMicro()+3, s.Revision())
}

func TestChangesArePublished(t *testing.T) {
	t.Parallel()
	_, client, _ := miniRedis(t)
	st := NewRedisStorage(client, time.Minute, WithKeyPrefix("app:"))
	events := client.Subscribe(t.Context(), "app:!events")
	defer func() { require.NoError(t, events.Close()) }()
	_, err := events.Receive(t.Context()) // subscribed
	require.NoError(t, err)
	next := func() string {
		message, err := events.ReceiveMessage(t.Context())
		require.NoError(t, err)
		return message.Payload
	}
	s := New("abc")
	require.NoError(t, st.Store(t.Context(), s))
	require.Equal(t, fmt.Sprintf("C%016xabc", s.Revision()), next())
	require.NoError(t, st.Delete(t.Context(), "abc"))
	require.Equal(t, "Rabc", next())
	require.NoError(t, st.Delete(t.Context(), "abc"))
	require.Equal(t, "Rabc", next(), "also when there was nothing: another replica may have a copy")
	require.NoError(t, st.Create(t.Context(), s))
	require.Equal(t, fmt.Sprintf("C%016xabc", s.Revision()), next())
	_, err = st.Take(t.Context(), "abc")
	require.NoError(t, err)
	require.Equal(t, "Rabc", next())
}

func TestKeyDoesNotOutliveTheAbsoluteExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := bubbleRedis(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		st := NewRedisStorage(client, time.Minute)
		ttl := func() time.Duration { return client.PTTL(t.Context(), "session:"+testID).Val() }

		end := time.Now().Add(90 * time.Second)
		require.NoError(t, st.Store(t.Context(), New(testID).WithExpiresAt(end)))
		require.Equal(t, time.Minute, ttl(), "the idle lifetime ends first")
		log.take()
		_, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, []string{"GETEX"}, log.take())

		time.Sleep(50 * time.Second)
		held, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, 40*time.Second-time.Millisecond, ttl(), "now the absolute one does")
		require.NoError(t, st.Store(t.Context(), held.With("a", "b")))
		require.Equal(t, 40*time.Second-time.Millisecond, ttl())

		time.Sleep(40 * time.Second)
		require.ErrorIs(t, st.Store(t.Context(), held.WithExpiresAt(end.Add(time.Hour))), ErrNotFound)
		require.NoError(t, st.Create(t.Context(), New(testID)), "the id is free")
	})
}

func TestCapLeavesAnotherWritersExpiryAlone(t *testing.T) {
	t.Parallel()
	m, client, _ := miniRedis(t)
	st := NewRedisStorage(client, time.Hour)
	s := New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	soon := time.Now().Add(time.Second).UnixMilli()
	_, err := runScript(t.Context(), client, capScript, []string{st.key(testID)}, header(s.Revision()-1), soon)
	require.ErrorIs(t, err, redis.Nil)
	require.Equal(t, time.Hour, m.TTL(st.key(testID)))
}

func TestRevalidationIsOneCommand(t *testing.T) {
	t.Parallel()
	m, client, log := miniRedis(t)
	st := NewRedisStorage(client, time.Minute)
	_, err := st.Revalidate(t.Context(), []*Session{New("warm-up")})
	require.NoError(t, err)
	var sessions []*Session
	var want []bool
	for i := range maxBatch {
		s := New(fmt.Sprint("id-", i))
		require.NoError(t, st.Store(t.Context(), s))
		sessions, want = append(sessions, s), append(want, true)
	}
	m.Del(st.key("id-1"))
	_, err = m.Lpush(st.key("id-1"), "another type") // which is no concern of the others
	require.NoError(t, err)
	want[1] = false
	m.FastForward(30 * time.Second)
	log.take()
	unchanged, err := st.Revalidate(t.Context(), sessions)
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
	require.Equal(t, []string{"EVALSHA"}, log.take())
	require.Equal(t, time.Minute, m.TTL(st.key("id-0")))

	_, err = st.Revalidate(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, log.take())
	m.Close()
	_, err = st.Revalidate(t.Context(), sessions)
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestRevalidationNeedsOneServer(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() { require.NoError(t, cluster.Close()) }()
	_, err := NewRedisStorage(cluster, time.Minute).Revalidate(t.Context(), []*Session{New(testID)})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestLostReplyIsNotAConflict(t *testing.T) {
	t.Parallel()
	for op, write := range map[string]func(ctx context.Context, st *RedisStorage, s *Session) error{
		"store":  func(ctx context.Context, st *RedisStorage, s *Session) error { return st.Store(ctx, s) },
		"create": func(ctx context.Context, st *RedisStorage, _ *Session) error { return st.Create(ctx, New("fresh")) },
		"take": func(ctx context.Context, st *RedisStorage, s *Session) error {
			_, err := st.Take(ctx, s.ID())
			return err
		},
	} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			m, client, log := miniRedis(t)
			st := NewRedisStorage(client, time.Minute)
			s := New(testID)
			require.NoError(t, st.Store(t.Context(), s))
			require.NoError(t, st.Delete(t.Context(), "warm-up"))
			_, err := st.Take(t.Context(), "warm-up")
			require.ErrorIs(t, err, ErrNotFound)
			log.take()

			// A client that repeats commands, through a link that loses the first reply.
			link := newLossyLink(t, m.Addr())
			eager := redis.NewClient(&redis.Options{Addr: link.addr(), MaxRetries: 3, MinRetryBackoff: -1})
			defer func() { require.NoError(t, eager.Close()) }()
			require.NoError(t, eager.Ping(t.Context()).Err())
			link.loseNextReply()
			log.take()
			err = write(t.Context(), NewRedisStorage(eager, time.Minute), s)
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, []string{"EVALSHA"}, log.take(), "sent once")
		})
	}
}

func TestRedisStorageRefusesNonsense(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer func() { require.NoError(t, client.Close()) }()
	var forgotten *redis.Client
	for name, construct := range map[string]func(){
		"no client":        func() { NewRedisStorage(nil, time.Minute) },
		"a nil pointer":    func() { NewRedisStorage(forgotten, time.Minute) },
		"no ttl":           func() { NewRedisStorage(client, 0) },
		"negative ttl":     func() { NewRedisStorage(client, -1) },
		"less than Redis'": func() { NewRedisStorage(client, time.Millisecond-1) },
		"no codec":         func() { WithCodec(nil) },
		"negative size":    func() { WithMaxSize(-1) },
	} {
		require.Panics(t, construct, name)
	}
	require.Equal(t, 1<<20, NewRedisStorage(client, time.Minute, WithMaxSize(0)).maxSize)
}
