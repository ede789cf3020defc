package session

import (
	"context"
	"errors"
	"log"
	"log/slog"
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

// wrapsNothing has the methods of the capabilities, and says that it supports none.
type wrapsNothing struct{ Storage }

func (wrapsNothing) Create(context.Context, *Session) error { return errors.ErrUnsupported }

func (wrapsNothing) Take(context.Context, string) (*Session, error) {
	return nil, errors.ErrUnsupported
}

func TestCreateAndTake(t *testing.T) {
	t.Parallel()
	memory := NewMemoryStorage(time.Hour)
	ctx := t.Context()
	s := New(testID)
	require.NoError(t, Create(ctx, memory, s))
	require.NotZero(t, s.Revision())
	require.ErrorIs(t, Create(ctx, memory, New(testID)), ErrExists)
	require.ErrorIs(t, Create(ctx, memory, nil), ErrInvalidID)
	taken, err := Take(ctx, memory, testID)
	require.NoError(t, err)
	require.Equal(t, s.Revision(), taken.Revision())
	_, err = Take(ctx, memory, testID)
	require.ErrorIs(t, err, ErrNotFound)

	routing := NewRoutingStorage(fourMethods{memory}, 10)
	defer func() { require.NoError(t, routing.Close()) }()
	for _, test := range []struct {
		st   Storage
		what string
	}{
		{fourMethods{memory}, "the storage, a session.fourMethods, is not a "},
		{wrapsNothing{memory}, "the storage, a session.wrapsNothing, is not a "},
		{routing, "the remote, a session.fourMethods, is not a "},
	} {
		err := Create(ctx, test.st, New(testID))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.EqualError(t, err, "session: create: unsupported operation: "+test.what+"Creator")
		taken, err := Take(ctx, test.st, testID)
		require.Nil(t, taken)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.EqualError(t, err, "session: take: unsupported operation: "+test.what+"Taker")
	}
	require.Zero(t, memory.records.Len())
}

// TestUpdateReturnsWhatIsStored: with the end that the storage gives it.
func TestUpdateReturnsWhatIsStored(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour, WithMaxLifetime(time.Hour))
	require.NoError(t, st.Store(t.Context(), New(testID)))
	updated, err := Update(t.Context(), st, testID, func(s *Session) (*Session, error) {
		return s.WithExpiresAt(time.Time{}), nil
	})
	require.NoError(t, err)
	stored, err := st.Load(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, stored, updated)
}

// unsweepable is a storage whose sweeps fail for a while, with an id in the error.
type unsweepable struct {
	Storage
	until time.Time
}

func (u unsweepable) DeleteExpired(context.Context, time.Time) error {
	if time.Now().Before(u.until) {
		return errors.New(testID)
	}
	return nil
}

// TestSweepsThatFailAreLogged: once when they begin to, and once when they work again. It runs alone, for the default
// logger is that of all tests.
func TestSweepsThatFailAreLogged(t *testing.T) { //nolint:paralleltest // see above
	var seen journal
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(logger)
		log.SetOutput(writer)
		log.SetFlags(flags)
	}()
	slog.SetDefault(slog.New(slog.NewTextHandler(&seen, nil)))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		require.ErrorIs(t, Sweep(ctx, unsweepable{until: time.Now().Add(time.Hour)}, time.Minute, time.Hour),
			context.DeadlineExceeded)
	})
	require.Len(t, seen.lines(), 2)
	require.Contains(t, seen.lines()[0], "sweeps fail")
	require.Contains(t, seen.lines()[1], "sweeps work again")
	require.False(t, seen.has(testID))
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
		holds(t, st, "busy")
		cancel()
		require.ErrorIs(t, <-swept, context.Canceled)
	})
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 0, 1) })
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 1, -1) })
}
