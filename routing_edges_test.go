package session

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDueSessionsThatWaitForARefreshDoNotExpire(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		const sessions = 3
		for i := range sessions {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
		}
		for range 4 { // loaded together every 8 of 10 minutes, with a single refresh at a time
			time.Sleep(8 * time.Minute)
			release := remote.hold("load", "request")
			for i := range sessions {
				_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
				require.NoError(t, err)
			}
			synctest.Wait()
			release()
		}
	}, WithRefreshConcurrency(1))
}

func TestFailedRefreshIsRepeatedWithoutAnotherHit(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		require.NoError(t, st.Store(t.Context(), New(testID)))
		for range 4 {
			time.Sleep(8 * time.Minute)
			remote.fail("load", "request", errLink)
			require.NoError(t, loadNow(t.Context(), st).err)
		}
	})
}

func TestRefreshEndsWithItsSession(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		for range 10_000 {
			remote.fail("load", "request", errLink)
		}
		time.Sleep(st.maxStaleness / 2)
		require.NoError(t, loadNow(t.Context(), st).err)
		time.Sleep(11 * time.Minute)
		before := remote.loadCount()
		require.Greater(t, before, 100)
		time.Sleep(time.Hour)
		require.Equal(t, before, remote.loadCount(), "nobody tries for ever")
	})
}

func TestStaleIfErrorIsNotForAnOldFailure(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		remote.fail("load", "request", errLink)
		time.Sleep(st.maxStaleness)
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		require.NoError(t, remote.MemoryStorage.Delete(t.Context(), testID)) // elsewhere
		time.Sleep(st.maxStaleness)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound, "the remote is asked again")
	}, WithStaleIfError(10*time.Minute))
}

func TestStaleAnswersEndSoonAfterTheOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		for range 10_000 {
			remote.fail("load", "request", errLink)
		}
		for range 300 {
			time.Sleep(time.Second)
			require.Equal(t, "old", loadNow(t.Context(), st).value)
		}
		remote.mu.Lock()
		clear(remote.stops)
		remote.mu.Unlock()
		remote.elsewhere(t, testID, "new")
		over := time.Now()
		for loadNow(t.Context(), st).value == "old" {
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(over), st.maxStaleness)
	}, WithStaleIfError(time.Hour))
}

func TestModeAfterAnOutageThatEndsWithNotFound(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(st.maxStaleness)
		remote.fail("load", "request", errLink)
		require.NoError(t, loadNow(t.Context(), st).err)
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		require.NoError(t, st.Delete(t.Context(), testID))
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
	}, WithStaleIfError(time.Minute))
}

func TestStoreDoesNotReplaceALaterStateThatWasServed(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		releaseLoad := remote.hold("load", "request")
		loaded := loadLater(t.Context(), st)
		synctest.Wait()
		time.Sleep(time.Microsecond)
		releaseStore := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "mine")) })
		synctest.Wait()
		remote.elsewhere(t, testID, "theirs")
		releaseLoad()
		require.Equal(t, "theirs", (<-loaded).value)
		releaseStore()
		require.NoError(t, <-stored)
		require.Equal(t, "theirs", loadNow(t.Context(), st).value)
	})
}

func TestDeleteExpiredReachesLocalCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := NewRoutingStorage(NewMemoryStorage(time.Hour), 10)
		defer func() { require.NoError(t, st.Close()) }()
		time.Sleep(st.maxStaleness)
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(st.maxStaleness)
		require.NoError(t, st.DeleteExpired(t.Context(), time.Now()))
		synctest.Wait()
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestLimitThatIsMeantAsNone(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(fourMethods{NewMemoryStorage(time.Hour)}, math.MaxInt)
	require.NoError(t, st.Store(t.Context(), New(testID)))
	require.NoError(t, loadNow(t.Context(), st).err)
	require.NoError(t, st.Close())
}

func TestFlightIsNotJoinedWhenItsSessionMayBeGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(time.Second) // shorter than MaxStaleness
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		remote.elsewhere(t, testID, "alive")
		release := remote.hold("load", "reply")
		before := loadLater(t.Context(), st)
		time.Sleep(time.Second)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		release()
		require.Equal(t, "alive", (<-before).value)
	})
}

func TestCloseBeginsNoRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(10 * time.Minute)
		st := NewRoutingStorage(remote, 100, WithRefreshConcurrency(1))
		for i := range 100 {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
		}
		release := remote.hold("load", "request")
		time.Sleep(st.maxStaleness / 2)
		for i := range 100 { // one is refreshed, the others wait for it
			_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
			require.NoError(t, err)
		}
		synctest.Wait()
		closed := later(st.Close)
		synctest.Wait()
		release()
		require.NoError(t, <-closed)
		require.Equal(t, 1, remote.loadCount())
	})
}
