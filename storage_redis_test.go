package session_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

func TestEveryOperationIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	_, client, log := embedded.Start(t)
	st := session.NewRedisStorage(client, time.Minute)
	s := session.New(testID)
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
		{"load, first use", load, []string{"EVALSHA", "EVAL"}},
		{"load", load, []string{"EVALSHA"}},
		{"delete, first use", func() error { return st.Delete(t.Context(), testID) }, []string{"EVALSHA", "EVAL"}},
		{"delete", func() error { return st.Delete(t.Context(), testID) }, []string{"EVALSHA"}},
		{"create", func() error { return st.Create(t.Context(), s) }, []string{"EVALSHA"}},
		{"take, first use", func() error { _, err := st.Take(t.Context(), testID); return err }, []string{"EVALSHA", "EVAL"}},
		{"create again", func() error { return st.Create(t.Context(), s) }, []string{"EVALSHA"}},
		{"take", func() error { _, err := st.Take(t.Context(), testID); return err }, []string{"EVALSHA"}},
		{"sweep", func() error { return st.DeleteExpired(t.Context(), time.Now()) }, nil},
	} {
		require.NoError(t, step.call(), step.name)
		require.Equal(t, step.want, log.Take(), step.name)
	}
}

func TestStoredValueIsReadable(t *testing.T) {
	t.Parallel()
	m, client, _ := embedded.Start(t)
	st := session.NewRedisStorage(client, time.Minute, session.WithKeyPrefix("app:"))
	s := session.New("abc").WithType(session.TypeStreamable).WithPrincipal("https://issuer.example|user-1").
		With("backend_url", "http://b")
	require.NoError(t, st.Store(t.Context(), s))
	value, err := m.Get("app: abc")
	require.NoError(t, err)
	require.Regexp(t, `^2[0-9a-f]{120}\{"id":"abc","type":"streamable",`+
		`"principal":"https://issuer.example\|user-1","created_at":"[^"]+Z","updated_at":"[^"]+Z",`+
		`"metadata":\{"backend_url":"http://b"\}\}$`, value)
	require.Equal(t, fmt.Sprintf("2%016x", s.Revision()), value[:17])
	require.Equal(t, time.Minute, m.TTL("app: abc"))
}

func TestKeyDoesNotOutliveTheAbsoluteExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		st := session.NewRedisStorage(client, time.Minute)
		ttl := func() time.Duration { return client.PTTL(t.Context(), "session: "+testID).Val() }

		end := time.Now().Add(90 * time.Second)
		require.NoError(t, st.Store(t.Context(), session.New(testID).WithExpiresAt(end)))
		require.Equal(t, time.Minute, ttl(), "the idle lifetime ends first")
		_, err := st.Load(t.Context(), testID) // the first use of the script
		require.NoError(t, err)
		log.Take()
		_, err = st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, []string{"EVALSHA"}, log.Take())

		time.Sleep(50 * time.Second)
		held, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, 40*time.Second-time.Millisecond, ttl(), "now the absolute one does")
		require.NoError(t, st.Store(t.Context(), held.With("a", "b")))
		require.Equal(t, 40*time.Second-time.Millisecond, ttl())

		time.Sleep(40 * time.Second)
		require.ErrorIs(t, st.Store(t.Context(), held.WithExpiresAt(end.Add(time.Hour))), session.ErrNotFound)
		require.NoError(t, st.Create(t.Context(), session.New(testID)), "the id is free")
	})
}

// TestLostReplyIsSettled loses the first reply, in front of a client that would repeat commands by itself.
func TestLostReplyIsSettled(t *testing.T) {
	t.Parallel()
	for op, test := range map[string]struct {
		call func(ctx context.Context, st *session.RedisStorage, s *session.Session) error
		want error
	}{
		"store": {call: func(ctx context.Context, st *session.RedisStorage, s *session.Session) error {
			return st.Store(ctx, s)
		}},
		"create": {call: func(ctx context.Context, st *session.RedisStorage, _ *session.Session) error {
			return st.Create(ctx, session.New("fresh"))
		}},
		"load": {call: func(ctx context.Context, st *session.RedisStorage, s *session.Session) error {
			_, err := st.Load(ctx, s.ID())
			return err
		}},
		"delete": {call: func(ctx context.Context, st *session.RedisStorage, s *session.Session) error {
			return st.Delete(ctx, s.ID())
		}},
		"take": {call: func(ctx context.Context, st *session.RedisStorage, s *session.Session) error {
			_, err := st.Take(ctx, s.ID())
			return err
		}, want: session.ErrUnavailable},
	} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			m, client, log := embedded.Start(t)
			st := session.NewRedisStorage(client, time.Minute)
			s := session.New(testID)
			require.NoError(t, st.Store(t.Context(), s))
			_, err := st.Load(t.Context(), testID)
			require.NoError(t, err)
			require.NoError(t, st.Delete(t.Context(), "warm-up"))
			_, err = st.Take(t.Context(), "warm-up")
			require.ErrorIs(t, err, session.ErrNotFound)

			link := redistest.StartLossyLink(t, m.Addr())
			eager := redis.NewClient(&redis.Options{Addr: link.Addr(), MaxRetries: 3, MinRetryBackoff: -1})
			defer func() { require.NoError(t, eager.Close()) }()
			require.NoError(t, eager.Ping(t.Context()).Err())
			link.LoseNextReply()
			log.Take()
			err = test.call(t.Context(), session.NewRedisStorage(eager, time.Minute), s)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
				require.Equal(t, []string{"EVALSHA"}, log.Take(), "sent once")
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"EVALSHA", "EVALSHA"}, log.Take(), "sent twice")
		})
	}
}

func TestRedisStorageRefusesNonsense(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	defer func() { require.NoError(t, client.Close()) }()
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { require.NoError(t, ring.Close()) }()
	var forgotten *redis.Client
	for name, construct := range map[string]func(){
		"a Ring":           func() { session.NewRedisStorage(ring, time.Minute) },
		"no client":        func() { session.NewRedisStorage(nil, time.Minute) },
		"a nil pointer":    func() { session.NewRedisStorage(forgotten, time.Minute) },
		"no ttl":           func() { session.NewRedisStorage(client, 0) },
		"negative ttl":     func() { session.NewRedisStorage(client, -1) },
		"less than Redis'": func() { session.NewRedisStorage(client, time.Millisecond-1) },
		"no codec":         func() { session.WithCodec(nil) },
		"negative size":    func() { session.WithMaxSize(-1) },
		"negative number":  func() { session.WithMinReplicas(-1, time.Second) },
		"no time to wait":  func() { session.WithMinReplicas(1, 0) },
		"no heartbeat":     func() { _ = session.NewRedisStorage(client, time.Minute).Watch(t.Context(), 0, nil) },
	} {
		require.Panics(t, construct, name)
	}
}

func TestDefaultMaxSizeOnRedis(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	st := session.NewRedisStorage(client, time.Minute, session.WithMaxSize(0))
	sized := func(bytes int) *session.Session {
		return session.New(testID).With("k", strings.Repeat("x", bytes))
	}
	encoded, err := session.JSONCodec{}.Encode(sized(1 << 20))
	require.NoError(t, err)
	largest := 2<<20 - len(encoded)
	require.NoError(t, st.Store(t.Context(), sized(largest-100)), "times vary in length")
	require.ErrorIs(t, st.Store(t.Context(), sized(largest+100)), session.ErrTooLarge)
}

func TestRedisStorageWatches(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	st := session.NewRedisStorage(client, time.Minute)
	events, proofs, ended := make(chan session.Event, 100), make(chan session.Alive, 100), make(chan error, 1)
	go func() {
		ended <- st.Watch(t.Context(), 100*time.Millisecond, func(e session.Event) {
			if alive, ok := e.(session.Alive); ok {
				proofs <- alive
			} else {
				events <- e
			}
		})
	}()
	require.Equal(t, session.Gap{}, <-events)
	s := session.New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	written := time.Now()
	require.Equal(t, session.Changed{ID: testID, Revision: s.Revision()}, <-events)
	require.NoError(t, st.Delete(t.Context(), testID))
	require.Equal(t, session.Removed{ID: testID, Revision: s.Revision()}, <-events)
	require.NoError(t, client.Publish(t.Context(), "session:!events:0", "R0000000000000007not an id").Err())
	require.Equal(t, session.Gap{}, <-events)
	for alive := range proofs {
		if alive.AsOf.After(written) {
			break
		}
	}
	server.Stop()
	require.ErrorIs(t, <-ended, session.ErrUnavailable)
}

func TestTooFewReplicasAreAnOutage(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	st := session.NewRedisStorage(client, time.Minute, session.WithMinReplicas(1, 50*time.Millisecond))
	s := session.New(testID)
	err := st.Store(t.Context(), s)
	require.ErrorIs(t, err, session.ErrUnavailable)
	require.EqualError(t, err, "session: store: storage unavailable: too few replicas have the write")
	require.Zero(t, s.Revision())
	require.ErrorIs(t, st.Create(t.Context(), session.New("another")), session.ErrUnavailable)
	require.ErrorIs(t, st.Delete(t.Context(), testID), session.ErrUnavailable)
}

func TestSessionThatIsOverIsNotProlonged(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	st := session.NewRedisStorage(client, time.Minute)
	end := time.Now().Add(500 * time.Millisecond)
	require.NoError(t, st.Store(t.Context(), session.New(testID).WithExpiresAt(end)))
	held, err := st.Load(t.Context(), testID)
	require.NoError(t, err)
	// A replica that ended between the two commands of a Load.
	require.NoError(t, client.GetEx(t.Context(), "session: "+testID, time.Minute).Err())
	require.Eventually(t, func() bool { return held.Expired(time.Now()) }, 10*time.Second, time.Millisecond)
	_, err = st.Load(t.Context(), testID)
	require.ErrorIs(t, err, session.ErrNotFound)
	require.ErrorIs(t, st.Store(t.Context(), held.WithExpiresAt(end.Add(time.Hour))), session.ErrNotFound)
}

// TestSubscriptionOnADemotedMaster moves a name from one server to another, as a load balancer does. The commands
// follow the name. The subscription stays where it is, on what is a replica now: everything that is published still
// arrives through it, except what was published before it copied the data.
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
	b := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 10, session.WithMaxStaleness(bound))
	defer func() { require.NoError(t, b.Close()) }()
	leased := func() bool { return b.Stats().Mode == session.ModeLeased }
	require.Eventually(t, leased, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Store(ctx, session.New(testID).With("v", "old")))

	target.Store(second.Addr())
	writer := session.NewRedisStorage(second.Client(t), time.Hour)
	require.NoError(t, writer.Store(ctx, session.New(testID).With("v", "new")))
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
	s, err := b.Load(ctx, testID)
	require.NoError(t, err)
	v, _ := s.Get("v")
	require.Equal(t, "new", v)
}

// TestRedisKeepsOwnIdleTimes stores sessions that live longer and shorter than the storage's TTL, and one that lives
// until its end without any use.
func TestRedisKeepsOwnIdleTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		ctx, st := t.Context(), session.NewRedisStorage(client, time.Minute)
		end := time.Now().Add(90 * 24 * time.Hour)
		admin, remembered := 10*time.Second, 30*24*time.Hour
		for _, s := range []*session.Session{
			session.New("plain"),
			session.New("admin").WithIdleTimeout(admin),
			session.New("remembered").WithIdleTimeout(remembered),
			session.New("unpolled").WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(end),
		} {
			require.NoError(t, st.Create(ctx, s))
		}
		alive := func(id string) bool {
			_, err := st.Peek(ctx, id)
			if err != nil {
				require.ErrorIs(t, err, session.ErrNotFound)
			}
			return err == nil
		}
		use := func(id string, idle time.Duration) {
			s, err := st.Load(ctx, id)
			require.NoError(t, err)
			require.Equal(t, idle, s.IdleTimeout())
		}
		use("plain", 0)
		for range 3 { // loads prolong by the session's own time
			time.Sleep(admin - time.Second)
			log.Take()
			use("admin", admin)
			require.Equal(t, []string{"EVALSHA"}, log.Take())
		}
		time.Sleep(admin + time.Second)
		require.False(t, alive("admin"))
		require.True(t, alive("plain"))
		time.Sleep(time.Minute)
		require.False(t, alive("plain"))
		use("remembered", remembered)
		time.Sleep(remembered - time.Second)
		require.True(t, alive("remembered"))
		time.Sleep(2 * time.Second)
		require.False(t, alive("remembered"))
		time.Sleep(time.Until(end) - time.Second)
		use("unpolled", session.NoIdleTimeout)
		time.Sleep(time.Second)
		require.False(t, alive("unpolled"))
		require.Empty(t, m.Keys())
	})
}

// TestRedisRevalidatesByOwnIdleTimes tells of uses that are half a minute ago.
func TestRedisRevalidatesByOwnIdleTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, _ := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		ctx, st := t.Context(), session.NewRedisStorage(client, time.Minute)
		short := session.New("short").WithIdleTimeout(40 * time.Second)
		long := session.New("long").WithIdleTimeout(time.Hour)
		require.NoError(t, st.Create(ctx, short))
		require.NoError(t, st.Create(ctx, long))
		use := func(s *session.Session, ago time.Duration) session.Use {
			return session.Use{ID: s.ID(), Revision: s.Revision(), At: time.Now().Add(-ago)}
		}
		time.Sleep(35 * time.Second)
		unchanged, err := st.Revalidate(ctx, []session.Use{use(short, 30*time.Second), use(long, 30*time.Second)})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true}, unchanged)
		require.Equal(t, 10*time.Second, m.TTL("session: short"))
		require.Equal(t, time.Hour-30*time.Second, m.TTL("session: long"))
		unchanged, err = st.Revalidate(ctx, []session.Use{use(short, 40*time.Second), use(long, 2*time.Minute)})
		require.NoError(t, err)
		require.Equal(t, []bool{false, true}, unchanged, "the time of the use counts")
		require.Equal(t, time.Hour-30*time.Second, m.TTL("session: long"), "it is never shortened")
	})
}

func TestRedisRefusesBadLifetimes(t *testing.T) {
	t.Parallel()
	m, client, log := embedded.Start(t)
	ctx, st := t.Context(), session.NewRedisStorage(client, time.Minute)
	over := session.New("over").WithExpiresAt(time.Now().Add(-time.Second))
	require.ErrorIs(t, st.Create(ctx, over), session.ErrLifetime)
	require.ErrorIs(t, st.Store(ctx, over), session.ErrLifetime)
	session.Stamp(over, 7)
	require.ErrorIs(t, st.Store(ctx, over), session.ErrNotFound, "it was stored before")
	require.ErrorIs(t, st.Create(ctx, over), session.ErrLifetime, "whatever its revision")
	endless := session.New("endless").WithIdleTimeout(session.NoIdleTimeout)
	require.ErrorIs(t, st.Create(ctx, endless), session.ErrLifetime)
	require.ErrorIs(t, st.Store(ctx, endless), session.ErrLifetime)
	require.Empty(t, log.Take())

	// The server's clock is ahead: for it, the session is over.
	m.SetTime(time.Now().Add(time.Hour))
	soon := session.New("soon").WithExpiresAt(time.Now().Add(time.Minute))
	require.ErrorIs(t, st.Create(ctx, soon), session.ErrLifetime)
	require.ErrorIs(t, st.Store(ctx, soon), session.ErrLifetime)
	kept := session.New("kept")
	require.NoError(t, st.Create(ctx, kept))
	require.ErrorIs(t, st.Store(ctx, kept.WithExpiresAt(time.Now().Add(time.Minute))), session.ErrNotFound)
	require.Equal(t, []string{"session: kept"}, m.Keys())
}

func TestRedisLimitsLifetimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, _ := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		ctx, st := t.Context(), session.NewRedisStorage(client, time.Minute, session.WithMaxLifetime(time.Hour))
		require.Equal(t, time.Hour, st.MaxLifetime())
		require.Zero(t, session.NewRedisStorage(client, time.Minute).MaxLifetime())
		s, later := session.New("limited"), time.Now().Add(24*time.Hour)
		time.Sleep(time.Second)
		require.NoError(t, st.Create(ctx, s))
		require.Zero(t, s.ExpiresAt(), "the caller's own stays as it is")
		require.NoError(t, st.Create(ctx, session.New("own-end").WithExpiresAt(later)))
		require.NoError(t, st.Create(ctx, session.New("unpolled").WithIdleTimeout(session.NoIdleTimeout)), "it has an end")
		end := s.CreatedAt().Add(time.Hour)
		for range 10 {
			time.Sleep(59 * time.Second)
			loaded, err := st.Load(ctx, "limited")
			require.NoError(t, err)
			require.Equal(t, end, loaded.ExpiresAt())
			require.NoError(t, st.Store(ctx, loaded.With("a", "b")))
		}
		time.Sleep(time.Until(end) - 30*time.Second)
		require.NoError(t, st.Store(ctx, session.New("new")))
		_, err := st.Load(ctx, "limited")
		require.ErrorIs(t, err, session.ErrNotFound, "idle for too long")
		_, err = st.Load(ctx, "unpolled")
		require.NoError(t, err)
		time.Sleep(31 * time.Second)
		_, err = st.Load(ctx, "unpolled")
		require.ErrorIs(t, err, session.ErrNotFound)
	})
}
