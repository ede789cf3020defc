package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

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
