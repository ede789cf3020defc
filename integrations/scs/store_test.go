package scsstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestWithoutContext(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	s := New(st)
	deadline := time.Now().Add(time.Hour).UTC()
	b, err := scs.GobCodec{}.Encode(deadline, map[string]any{"a": 1})
	require.NoError(t, err)
	changed, err := scs.GobCodec{}.Encode(deadline, map[string]any{"a": 2})
	require.NoError(t, err)

	_, found, err := s.Find("token")
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, s.Delete("token"))
	for _, data := range [][]byte{b, b, changed} {
		require.NoError(t, s.Commit("token", data, deadline))
		got, found, err := s.Find("token")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, data, got)
	}
	stored, err := st.Peek(t.Context(), idOf("token"))
	require.NoError(t, err)
	require.Equal(t, session.NoIdleTimeout, stored.IdleTimeout(), "it costs no renewals")
	require.NoError(t, s.Commit("token", b, time.Now().Add(-time.Second)))
	_, found, err = s.Find("token")
	require.NoError(t, err)
	require.False(t, found, "it is over")
	require.NoError(t, s.Commit("token", b, time.Now().Add(-time.Second)))
}

func TestMalformedTokens(t *testing.T) {
	t.Parallel()
	s := New(session.NewMemoryStorage(time.Hour))
	for _, token := range []string{"", "a b", "ü", "\x00", strings.Repeat("a", 5000)} {
		_, found, err := s.Find(token)
		require.NoError(t, err)
		require.False(t, found)
		require.NoError(t, s.Delete(token))
	}
}

// TestOtherSessions has a storage with sessions of other kinds, which a cookie cannot name.
func TestOtherSessions(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	require.NoError(t, st.Store(t.Context(), session.New("other").WithData([]byte("secret"))))
	_, found, err := New(st).Find("other")
	require.NoError(t, err)
	require.False(t, found)
}

func TestOutageIsAnError(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{0, 20 * time.Minute} {
		st := newCounted()
		app := newApp(newManager(st, idle, 12*time.Hour), nil, nil)
		alice := logIn(t, app, "alice")
		cookie := *alice.cookie
		st.down.Store(true)
		for _, path := range []string{"/", "/count", "/logout", "/login?user=bob"} {
			status, _ := alice.get(t, path)
			require.Equal(t, 503, status)
			require.Equal(t, cookie.Value, alice.cookie.Value, "the browser keeps its session")
		}
		stranger := &browser{app: app}
		status, _ := stranger.get(t, "/count")
		require.Equal(t, 503, status)
		require.Nil(t, stranger.cookie, "what was not stored has no cookie")
		st.down.Store(false)
		require.Equal(t, "alice", alice.user(t))
	}
}

func TestIterate(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	m := newManager(st, 20*time.Minute, 12*time.Hour)
	require.NoError(t, st.Store(t.Context(), session.New("another").WithPrincipal(sharedOwner)))
	users := func() map[string]bool {
		users := make(map[string]bool)
		require.NoError(t, m.Iterate(t.Context(), func(ctx context.Context) error {
			users[m.GetString(ctx, "user")] = true
			return nil
		}))
		return users
	}
	require.Empty(t, users())
	app := newApp(m, nil, nil)
	logIn(t, app, "alice")
	bob := logIn(t, app, "bob")
	require.Equal(t, map[string]bool{"alice": true, "bob": true}, users())
	bob.get(t, "/logout")
	require.Equal(t, map[string]bool{"alice": true}, users())
}

// TestIterateBringsNothingBack ends a session while Iterate has it, and then commits a change of it.
func TestIterateBringsNothingBack(t *testing.T) {
	t.Parallel()
	m := newManager(session.NewMemoryStorage(time.Hour), 20*time.Minute, 12*time.Hour)
	alice := logIn(t, newApp(m, nil, nil), "alice")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, m.Iterate(ctx, func(ctx context.Context) error {
		other := &browser{app: alice.app, cookie: alice.cookie}
		other.get(t, "/logout")
		m.Put(ctx, "theme", "light")
		_, _, err := m.Commit(ctx)
		return err
	}))
	require.Empty(t, alice.user(t), "the session is back")
}

func TestIterateWithoutIndex(t *testing.T) {
	t.Parallel()
	owner := func(map[string]any) string { return "" }
	for _, s := range []*Store{
		New(struct {
			session.Storage
			session.Creator
		}{session.NewMemoryStorage(time.Hour), session.NewMemoryStorage(time.Hour)}),
		New(session.NewMemoryStorage(time.Hour), WithOwner(owner)),
	} {
		_, err := s.AllCtx(t.Context())
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
}

// TestLogOutEverywhere ends all sessions of a user.
func TestLogOutEverywhere(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	principal := func(user string) string { return session.Principal("https://app.example", user) }
	app := newApp(newManager(st, 20*time.Minute, 12*time.Hour, WithOwner(func(values map[string]any) string {
		user, _ := values["user"].(string)
		return principal(user)
	})), nil, nil)
	laptop, phone, bob := logIn(t, app, "alice"), logIn(t, app, "alice"), logIn(t, app, "bob")
	n, err := st.Revoke(t.Context(), principal("alice"))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Empty(t, laptop.user(t))
	require.Empty(t, phone.user(t))
	require.Equal(t, "bob", bob.user(t))
}

// otherCodec is one that GobCodec cannot decode.
type otherCodec struct{ scs.GobCodec }

func (otherCodec) Encode(time.Time, map[string]any) ([]byte, error) { return []byte("secret"), nil }

func TestForeignCodec(t *testing.T) {
	t.Parallel()
	m := newManager(session.NewMemoryStorage(time.Hour), 0, time.Hour)
	m.Codec = otherCodec{}
	ctx, err := m.Load(t.Context(), "")
	require.NoError(t, err)
	m.Put(ctx, "user", "alice")
	_, _, err = m.Commit(ctx)
	require.ErrorContains(t, err, "WithCodec")
	require.NotContains(t, err.Error(), "secret")
}

func TestPanics(t *testing.T) {
	t.Parallel()
	require.Panics(t, func() { New(nil) })
	require.Panics(t, func() { New(struct{ session.Storage }{session.NewMemoryStorage(time.Hour)}) })
	require.Panics(t, func() { WithCodec(nil) })
	require.Panics(t, func() { WithOwner(nil) })
}
