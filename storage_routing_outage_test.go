package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRemoteThatDoesNotAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "x")
		release := remote.hold("load", "reply") // and ignores its context
		start := time.Now()
		err := loadNow(t.Context(), st).err
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 300*time.Millisecond, time.Since(start))
		require.Equal(t, "x", loadNow(t.Context(), st).value, "the next one does not wait for it")
		release()
	}, WithLoadTimeout(300*time.Millisecond))
}

func TestRemoteErrorsAreTranslated(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		remote error
		want   error
	}{
		"a sentinel":                 {fmt.Errorf("mine: %w", ErrCorrupt), ErrCorrupt},
		"not found":                  {ErrNotFound, ErrNotFound},
		"anything else":              {errLink, ErrUnavailable},
		"a cancellation of its own":  {context.Canceled, ErrUnavailable},
		"a deadline of its own":      {context.DeadlineExceeded, ErrUnavailable},
		"an id in the text":          {errors.New("no such key " + testID), ErrUnavailable},
		"an id in a quoted argument": {errors.New("unknown command 'GETEX', with args '" + testID + "'"), ErrUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
				remote.fail("load", "request", test.remote)
				err := loadNow(t.Context(), st).err
				require.ErrorIs(t, err, test.want)
				require.ErrorIs(t, err, test.remote, "the cause stays reachable")
				require.NotContains(t, err.Error(), testID)
			})
		})
	}
}

func TestStaleIfError(t *testing.T) {
	const allowed = 10 * time.Second
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "known")))
		require.NoError(t, st.Store(t.Context(), New("written")))
		for range 10_000 {
			remote.fail("load", "request", errLink)
		}
		remote.fail("store", "request", errLink)
		require.ErrorIs(t, st.Store(t.Context(), New("written")), ErrUnavailable)
		_, err := st.Load(t.Context(), "written")
		require.ErrorIs(t, err, ErrUnavailable, "its state is not known")

		start := time.Now()
		for time.Since(start) < staleness+allowed {
			require.Equal(t, outcome{value: "known"}, loadNow(t.Context(), st))
			time.Sleep(time.Millisecond)
		}
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
		require.Less(t, remote.loadCount(), 100, "not each load asks")
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		require.NotZero(t, st.Stats().Stale)
		require.LessOrEqual(t, st.Stats().Stale, st.Stats().Misses, "no load is counted twice in a hit rate")
	}, WithStaleIfError(allowed))
}

func TestCancelledLoadIsNotAnsweredWithStaleState(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(staleness)
		release := remote.hold("load", "reply")
		ctx, cancel := context.WithCancel(t.Context())
		loaded := loadLater(ctx, st)
		synctest.Wait()
		cancel()
		err := (<-loaded).err
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrUnavailable)
		require.Zero(t, st.Stats().Stale)
		release()
	}, WithStaleIfError(time.Minute))
}

func TestStaleIfErrorEndsWithTheOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "known")))
		time.Sleep(staleness)
		remote.fail("load", "request", errLink)
		remote.fail("load", "request", errLink)
		require.Equal(t, "known", loadNow(t.Context(), st).value, "and the remote is asked in the background")
		synctest.Wait()
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		remote.elsewhere(t, testID, "new")
		require.Equal(t, "known", loadNow(t.Context(), st).value)
		time.Sleep(time.Second)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
	}, WithStaleIfError(time.Minute))
}

func TestStaleIfErrorRespectsTheEndOfASession(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		end := time.Now().Add(5 * time.Second)
		require.NoError(t, st.Store(t.Context(), New(testID).WithExpiresAt(end)))
		for range 100 {
			remote.fail("load", "request", errLink)
		}
		time.Sleep(4 * time.Second)
		require.NoError(t, loadNow(t.Context(), st).err)
		time.Sleep(time.Second)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
	}, WithStaleIfError(time.Minute))
}

func TestStaleIfErrorIsNotForOtherErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		require.NoError(t, remote.MemoryStorage.Delete(t.Context(), testID))
		time.Sleep(staleness)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		remote.fail("load", "request", errLink)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable, "it is known to be gone")
	}, WithStaleIfError(time.Minute))
}
