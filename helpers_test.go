package session

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func increment(s *Session) (*Session, error) {
	n, _ := s.Get("n")
	i, _ := strconv.Atoi(n)
	return s.With("n", strconv.Itoa(i+1)), nil
}

func TestUpdateLosesNoChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := NewMemoryStorage(time.Hour)
		require.NoError(t, remote.Store(t.Context(), New(testID)))
		var writers sync.WaitGroup
		for range 4 { // replicas
			st := NewRoutingStorage(remote, 10)
			defer func() { require.NoError(t, st.Close()) }()
			for range 8 {
				writers.Go(func() {
					_, err := Update(t.Context(), st, testID, increment)
					require.NoError(t, err)
				})
			}
		}
		writers.Wait()
		s, err := remote.Load(t.Context(), testID)
		require.NoError(t, err)
		n, _ := s.Get("n")
		require.Equal(t, "32", n)
	})
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	ctx := t.Context()
	_, err := Update(ctx, st, testID, increment)
	require.ErrorIs(t, err, ErrNotFound)

	stored := New(testID)
	require.NoError(t, st.Store(ctx, stored))
	for _, unchanged := range []func(*Session) (*Session, error){
		func(s *Session) (*Session, error) { return s, nil },
		func(*Session) (*Session, error) { return nil, nil },
	} {
		s, err := Update(ctx, st, testID, unchanged)
		require.NoError(t, err)
		require.Equal(t, stored.Revision(), s.Revision())
	}

	mine := errors.New("mine")
	_, err = Update(ctx, st, testID, func(*Session) (*Session, error) { return nil, mine })
	require.Equal(t, mine, err)
	_, err = Update(ctx, st, testID, func(*Session) (*Session, error) { return New("another"), nil })
	require.ErrorIs(t, err, ErrInvalidID)

	_, err = Update(ctx, st, testID, func(s *Session) (*Session, error) {
		require.NoError(t, st.Delete(ctx, testID))
		return s.Detached().With("k", "v"), nil // detaching does not get around the check
	})
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, st.Store(ctx, New(testID)))
	ctx, cancel := context.WithCancel(ctx)
	_, err = Update(ctx, st, testID, func(s *Session) (*Session, error) {
		require.NoError(t, st.Store(t.Context(), s.With("other", "writer")))
		defer cancel()
		return s.With("k", "v"), nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestLoadOwned(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	require.NoError(t, st.Store(t.Context(), New("owned").WithPrincipal("issuer|user")))
	require.NoError(t, st.Store(t.Context(), New("unowned")))
	s, err := LoadOwned(t.Context(), st, "owned", "issuer|user")
	require.NoError(t, err)
	require.Equal(t, "owned", s.ID())
	for _, test := range [][2]string{
		{"owned", "issuer|another"}, {"owned", ""}, {"unowned", ""}, {"unowned", "issuer|user"}, {"absent", "issuer|user"},
	} {
		_, err := LoadOwned(t.Context(), st, test[0], test[1])
		require.ErrorIs(t, err, ErrNotFound)
	}
}

// fourMethods hides the capabilities of a storage.
type fourMethods struct{ Storage }

func TestRenew(t *testing.T) {
	t.Parallel()
	memory := NewMemoryStorage(time.Hour)
	for name, st := range map[string]Storage{
		"taker":   memory,
		"plain":   fourMethods{memory},
		"routing": NewRoutingStorage(fourMethods{memory}, 10), // its Take is unsupported
	} {
		ctx := t.Context()
		require.NoError(t, st.Store(ctx, New(testID).WithPrincipal("p")))
		s, err := st.Load(ctx, testID)
		require.NoError(t, err)
		renewed, err := Renew(ctx, st, s.With("logged", "in"))
		require.NoError(t, err, name)
		require.NotEqual(t, testID, renewed.ID())

		_, err = st.Load(ctx, testID)
		require.ErrorIs(t, err, ErrNotFound, name)
		loaded, err := st.Load(ctx, renewed.ID())
		require.NoError(t, err, name)
		require.Equal(t, renewed.Record(), loaded.Record())
		require.Equal(t, s.CreatedAt(), loaded.CreatedAt())
		require.NoError(t, st.Store(ctx, renewed.With("and", "on")))

		_, err = Renew(ctx, st, s)
		require.ErrorIs(t, err, ErrNotFound, "an old copy cannot be renewed again")
		_, err = Renew(ctx, st, New("never stored"))
		require.ErrorIs(t, err, ErrNotFound)
		_, err = Renew(ctx, st, nil)
		require.ErrorIs(t, err, ErrInvalidID)
		if closer, ok := st.(*RoutingStorage); ok {
			require.NoError(t, closer.Close())
		}
	}
}

// deleteBefore deletes a session just before it is taken.
type deleteBefore struct{ *MemoryStorage }

func (d deleteBefore) Take(ctx context.Context, id string) (*Session, error) {
	if err := d.Delete(ctx, id); err != nil {
		return nil, err
	}
	return d.MemoryStorage.Take(ctx, id)
}

func TestRenewDoesNotBringBackADeletedSession(t *testing.T) {
	t.Parallel()
	st := deleteBefore{NewMemoryStorage(time.Hour)}
	s := New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	_, err := Renew(t.Context(), st, s)
	require.ErrorIs(t, err, ErrNotFound)
	require.Zero(t, st.byUse.Len())
}

func TestRenewRefusesAnOldCopy(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	s := New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	old := s.With("k", "old")
	require.NoError(t, st.Store(t.Context(), s.With("k", "new")))
	_, err := Renew(t.Context(), st, old)
	require.ErrorIs(t, err, ErrConflict)
	_, err = st.Load(t.Context(), testID)
	require.NoError(t, err, "the stored session is unchanged")
}

func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := NewMemoryStorage(24 * time.Hour)
		require.NoError(t, st.Store(t.Context(), New("idle")))
		require.NoError(t, st.Store(t.Context(), New("busy")))
		ctx, cancel := context.WithCancel(t.Context())
		swept := later(func() error { return Sweep(ctx, st, time.Minute, time.Hour) })
		for range 100 {
			time.Sleep(time.Minute)
			_, err := st.Load(ctx, "busy")
			require.NoError(t, err)
		}
		require.Equal(t, []string{"busy"}, st.byUse.Keys())
		cancel()
		require.ErrorIs(t, <-swept, context.Canceled)
	})
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 0, 1) })
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 1, -1) })
}
