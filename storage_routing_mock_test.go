package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mocks"
)

// These tests use the generated mock as a remote that has the four methods of Storage and nothing else.

const testID = "3DQ7JZ2N5W"

func TestSessionOfAnotherIDIsRefused(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	remote.EXPECT().Load(mock.Anything, testID).Return(session.New("another"), nil).Once()
	remote.EXPECT().Load(mock.Anything, testID).Return(nil, nil).Once()
	st := session.NewRoutingStorage(remote, 10)
	defer func() { require.NoError(t, st.Close()) }()
	for range 2 {
		_, err := st.Load(t.Context(), testID)
		require.ErrorIs(t, err, session.ErrCorrupt)
	}
	require.Zero(t, st.Stats().Entries)
}

func TestDeleteExpiredIsDelegated(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	before := time.Now()
	remote.EXPECT().DeleteExpired(mock.Anything, before).Return(nil).Once()
	remote.EXPECT().DeleteExpired(mock.Anything, before).Return(errors.New("connection refused")).Once()
	st := session.NewRoutingStorage(remote, 10)
	require.NoError(t, st.DeleteExpired(t.Context(), before))
	require.ErrorIs(t, st.DeleteExpired(t.Context(), before), session.ErrUnavailable)
	require.NoError(t, st.Close())
	require.ErrorIs(t, st.DeleteExpired(t.Context(), before), session.ErrClosed)
}

func TestRemoteWithoutCapabilities(t *testing.T) {
	t.Parallel()
	st := session.NewRoutingStorage(mocks.NewStorage(t), 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.ErrorIs(t, st.Create(t.Context(), session.New(testID)), errors.ErrUnsupported)
	_, err := st.Take(t.Context(), testID)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestRemoteThatPanicsInAWrite(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	remote.EXPECT().Store(mock.Anything, mock.Anything).RunAndReturn(func(context.Context, *session.Session) error {
		panic("a bug")
	})
	st := session.NewRoutingStorage(remote, 10)
	require.Panics(t, func() { _ = st.Store(t.Context(), session.New(testID)) })
	require.NoError(t, st.Close(), "and nothing is locked")
}

func TestCloseEndsCallsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := mocks.NewStorage(t)
		remote.EXPECT().Load(mock.Anything, testID).RunAndReturn(
			func(ctx context.Context, _ string) (*session.Session, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		st := session.NewRoutingStorage(remote, 10, session.WithLoadTimeout(time.Hour))
		loaded, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := st.Load(t.Context(), testID)
			loaded <- err
		}()
		synctest.Wait()
		start := time.Now()
		go func() { closed <- st.Close() }()
		require.NoError(t, st.Close())
		require.NoError(t, <-closed)
		require.ErrorIs(t, <-loaded, session.ErrClosed)
		require.Zero(t, time.Since(start))
		_, err := st.Load(t.Context(), testID)
		require.ErrorIs(t, err, session.ErrClosed)
	})
}
