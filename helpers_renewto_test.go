package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const newID = "chosen-by-the-caller"

func TestRenewTo(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		for _, same := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour, WithMaxLifetime(time.Hour))}
				g := &faultyStorage{MemoryStorage: NewMemoryStorage(24*time.Hour, WithMaxLifetime(48*time.Hour))}
				anonymous, signedIn := subject(f), subject(g)
				defer closeAny(t, anonymous)
				defer closeAny(t, signedIn)
				if same {
					g, signedIn = f, anonymous
				}
				require.NoError(t, anonymous.Store(t.Context(), New(testID).With("cart", "full").WithData([]byte("d"))))
				time.Sleep(time.Minute)
				s, err := anonymous.Load(t.Context(), testID)
				require.NoError(t, err)
				gained := s.WithPrincipal("alice").WithExpiresAt(time.Time{}).WithIdleTimeout(20 * time.Hour)
				renewed, err := RenewTo(t.Context(), anonymous, gained, signedIn, newID)
				require.NoError(t, err, name)
				want := gained.Record()
				want.ID = newID
				require.Equal(t, want, renewed.Record())
				loaded, err := g.Load(t.Context(), newID)
				require.NoError(t, err)
				want.ExpiresAt = s.CreatedAt().Add(g.MaxLifetime())
				require.Equal(t, want, loaded.Record())
				require.Equal(t, loaded.Revision(), renewed.Revision())
				_, err = f.Load(t.Context(), testID)
				require.ErrorIs(t, err, ErrNotFound)
				require.NoError(t, signedIn.Store(t.Context(), loaded.With("and", "on")))
			})
		}
	}
}

func TestRenewToATakenID(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
		st := subject(f)
		ctx := t.Context()
		s, other := New(testID).With("k", "v"), New(newID).WithPrincipal("another")
		require.NoError(t, st.Store(ctx, s))
		require.NoError(t, st.Store(ctx, other))
		for range 2 {
			_, err := RenewTo(ctx, st, s.WithPrincipal("alice"), st, newID)
			require.ErrorIs(t, err, ErrExists, name)
		}
		for _, want := range []*Session{s, other} {
			got, err := f.Load(ctx, want.ID())
			require.NoError(t, err)
			require.Equal(t, want.Record(), got.Record(), "%s: nothing has happened", name)
			require.Equal(t, want.Revision(), got.Revision())
		}
		closeAny(t, st)
	}
}

func TestRenewToRefusesNonsense(t *testing.T) {
	t.Parallel()
	m, other := NewMemoryStorage(time.Hour), NewMemoryStorage(time.Hour)
	ctx := t.Context()
	s := New(testID)
	require.NoError(t, m.Store(ctx, s))
	changed := s.With("k", "v")
	require.NoError(t, m.Store(ctx, changed))
	for name, test := range map[string]struct {
		s    *Session
		to   Storage
		id   string
		want error
	}{
		"the same id":                     {changed, m, testID, ErrInvalidID},
		"the same id in another storage":  {changed, other, testID, ErrInvalidID},
		"an invalid id":                   {changed, other, "a b", ErrInvalidID},
		"an empty id":                     {changed, other, "", ErrInvalidID},
		"no session":                      {nil, other, newID, ErrInvalidID},
		"a session that was never stored": {New("new"), other, newID, ErrNotFound},
		"an old copy":                     {s, other, newID, ErrConflict},
		"an old copy, into the same":      {s, m, newID, ErrConflict},
	} {
		renewed, err := RenewTo(ctx, m, test.s, test.to, test.id)
		require.ErrorIs(t, err, test.want, name)
		require.Nil(t, renewed)
		require.NotContains(t, err.Error(), testID)
	}
	holds(t, m, testID)
	require.Zero(t, other.records.Len(), "the id is free again")
	current, err := m.Load(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, changed.Record(), current.Record())
}

// TestRenewToThatFailsGrantsNothing has each call of RenewTo fail.
func TestRenewToThatFailsGrantsNothing(t *testing.T) {
	t.Parallel()
	const absent, blank, whole, gained = "absent", "blank", "as it was", "with what it gained"
	for at, test := range []struct {
		inNew             bool // the call is one to the new storage
		failAt            int  // among the calls to that storage
		before, after     string
		newBefore, newNow string // under the new id
	}{
		{true, 1, whole, whole, absent, blank}, // the reservation
		{false, 1, whole, blank, absent, absent},
		{false, 2, blank, absent, absent, absent},
		{true, 2, absent, absent, blank, gained},
	} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
				g := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
				s := New(testID).With("planted", "yes")
				require.NoError(t, f.MemoryStorage.Store(t.Context(), s))
				failing := f
				if test.inNew {
					failing = g
				}
				failing.failAt, failing.after = test.failAt, after
				renewed, err := RenewTo(t.Context(), f, s.WithPrincipal("alice"), g, newID)
				require.ErrorIs(t, err, errInjected)
				require.Nil(t, renewed)

				state := func(m *MemoryStorage, id string) string {
					s, err := m.Peek(t.Context(), id)
					switch _, planted := s.Get("planted"); {
					case err != nil:
						require.ErrorIs(t, err, ErrNotFound)
						return absent
					case s.Principal() == "alice":
						return gained
					case planted:
						return whole
					}
					return blank
				}
				want, wantNew := test.before, test.newBefore
				if after {
					want, wantNew = test.after, test.newNow
				}
				require.Equal(t, want, state(f.MemoryStorage, testID), "%d, after: %t", at, after)
				require.Equal(t, wantNew, state(g.MemoryStorage, newID), "%d, after: %t", at, after)
				time.Sleep(time.Minute)
				require.NotEqual(t, blank, state(f.MemoryStorage, testID))
				require.NotEqual(t, blank, state(g.MemoryStorage, newID))
			})
		}
	}
}

// TestRenewToLosesARace has another writer at the new id before the last step.
func TestRenewToLosesARace(t *testing.T) {
	t.Parallel()
	f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
	g := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
	s := New(testID)
	require.NoError(t, f.MemoryStorage.Store(t.Context(), s))
	g.between = func(call int) {
		if call == 2 {
			require.NoError(t, g.MemoryStorage.Store(t.Context(), New(newID).WithPrincipal("another")))
		}
	}
	_, err := RenewTo(t.Context(), f, s.WithPrincipal("alice"), g, newID)
	require.ErrorIs(t, err, ErrConflict)
	kept, err := g.Load(t.Context(), newID)
	require.NoError(t, err)
	require.Equal(t, "another", kept.Principal(), "what the other one has stored stays")
	require.Zero(t, f.records.Len())
}

// TestRenewToFindsABadLifetimeFirst: what the storage refuses in the end, it refuses before the session is lost.
func TestRenewToFindsABadLifetimeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from, to := NewMemoryStorage(24*time.Hour), NewMemoryStorage(24*time.Hour, WithMaxLifetime(time.Hour))
		s := New(testID)
		require.NoError(t, from.Store(t.Context(), s))
		time.Sleep(2 * time.Hour)
		endless := s.WithIdleTimeout(NoIdleTimeout)
		for name, renew := range map[string]func() (*Session, error){
			"too old":      func() (*Session, error) { return RenewTo(t.Context(), from, s, to, newID) },
			"endless":      func() (*Session, error) { return RenewTo(t.Context(), from, endless, from, newID) },
			"endless, too": func() (*Session, error) { return Renew(t.Context(), from, endless) },
		} {
			renewed, err := renew()
			require.ErrorIs(t, err, ErrLifetime, name)
			require.Nil(t, renewed)
		}
		current, err := from.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, s.Revision(), current.Revision(), "nothing has happened")
		require.Zero(t, to.records.Len())
		_, err = RenewTo(t.Context(), from, s.WithExpiresAt(time.Now().Add(time.Hour)), to, newID)
		require.NoError(t, err)
	})
}
