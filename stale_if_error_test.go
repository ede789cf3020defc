package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
		for time.Since(start) < st.maxStaleness+allowed {
			require.Equal(t, outcome{value: "known"}, loadNow(t.Context(), st))
			time.Sleep(time.Millisecond)
		}
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
		require.Less(t, remote.loadCount(), 100, "not each load asks")
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		require.NotZero(t, st.Stats().Stale)
	}, WithStaleIfError(allowed))
}

func TestStaleIfErrorEndsWithTheOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "known")))
		time.Sleep(st.maxStaleness)
		remote.fail("load", "request", errLink)
		require.Equal(t, "known", loadNow(t.Context(), st).value)
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		remote.elsewhere(t, testID, "new")
		time.Sleep(time.Second)
		require.Equal(t, "known", loadNow(t.Context(), st).value, "and the remote is asked in the background")
		synctest.Wait()
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
		time.Sleep(st.maxStaleness)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		remote.fail("load", "request", errLink)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable, "it is known to be gone")
	}, WithStaleIfError(time.Minute))
}
