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

func TestHitSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		first, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		for range 1000 {
			s, err := st.Load(t.Context(), testID)
			require.NoError(t, err)
			require.Same(t, first, s)
		}
		require.Zero(t, remote.loadCount())
		require.EqualValues(t, 1001, st.Stats().Hits)
	})
}

func TestHitAllocatesNothing(t *testing.T) {
	st := NewRoutingStorage(NewMemoryStorage(time.Hour), 10, WithMaxStaleness(time.Hour))
	defer func() { require.NoError(t, st.Close()) }()
	require.NoError(t, st.Store(t.Context(), New(testID)))
	require.NoError(t, st.Store(t.Context(), New("absolute").WithExpiresAt(time.Now().Add(time.Hour))))
	ctx := t.Context()
	for _, id := range []string{testID, "absolute"} {
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if _, err := st.Load(ctx, id); err != nil {
				t.Error(err)
			}
		}))
	}
}

func TestBusySessionNeverWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		const periods = 50
		for range periods * 100 {
			require.NoError(t, loadNow(t.Context(), st).err)
			time.Sleep(st.maxStaleness / 100)
		}
		stats := st.Stats()
		require.Zero(t, stats.Misses)
		require.InDelta(t, 2*periods, remote.loadCount(), 2, "one refresh for each half of MaxStaleness")
		require.EqualValues(t, remote.loadCount(), stats.Refreshes)
	})
}

func TestHitsKeepASessionAlive(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{10 * time.Millisecond, time.Second, 8 * time.Second, time.Hour} {
		t.Run(ttl.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				remote := newStagedRemote(ttl)
				st := NewRoutingStorage(remote, 10)
				defer func() { require.NoError(t, st.Close()) }()
				require.NoError(t, st.Store(t.Context(), New(testID)))
				require.NoError(t, st.Store(t.Context(), New("idle-twin")))
				for range 10 * 16 {
					time.Sleep(ttl / 16)
					require.NoError(t, loadNow(t.Context(), st).err)
				}
				_, err := st.Load(t.Context(), "idle-twin")
				require.ErrorIs(t, err, ErrNotFound)
			})
		})
	}
}

func TestRefreshIntervalIsSmallerThanAnyTTL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ asked, ttl, want time.Duration }{
		{0, 0, time.Minute}, // the remote does not tell its TTL
		{time.Hour, 0, time.Hour},
		{0, 24 * time.Hour, time.Minute},
		{0, 80 * time.Second, 10 * time.Second},
		{time.Hour, 80 * time.Second, 20 * time.Second},
		{time.Second, 80 * time.Second, time.Second},
		{0, time.Millisecond, 125 * time.Microsecond},
		{0, 3, 1}, // nothing is smaller than a nanosecond, but zero would mean always
	} {
		require.Equal(t, test.want, refreshInterval(test.asked, test.ttl), "%+v", test)
	}
}

func TestLocalCopyDiesWithTheRemotes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(time.Second) // shorter than MaxStaleness
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(time.Second)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestAbsoluteExpiryEndsHits(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		end := time.Now().Add(time.Second)
		require.NoError(t, st.Store(t.Context(), New(testID).WithExpiresAt(end)))
		time.Sleep(time.Second - time.Microsecond)
		require.NoError(t, loadNow(t.Context(), st).err)
		time.Sleep(time.Microsecond)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestAnswerThatIsOverWhenItArrivesIsNotServed(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, remote.Store(t.Context(), New(testID).WithExpiresAt(time.Now().Add(time.Second))))
		release := remote.hold("load", "reply")
		loaded := loadLater(t.Context(), st)
		time.Sleep(time.Second)
		release()
		require.ErrorIs(t, (<-loaded).err, ErrNotFound)
	})
}

func TestRefreshFindsTheSessionGone(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		require.NoError(t, remote.MemoryStorage.Delete(t.Context(), testID))
		time.Sleep(st.maxStaleness / 2)
		require.NoError(t, loadNow(t.Context(), st).err, "served, and refreshed in the background")
		synctest.Wait()
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestFailedRefreshIsRepeatedWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		for range 1000 {
			remote.fail("load", "request", errLink)
		}
		time.Sleep(st.maxStaleness / 2)
		for range 1000 {
			require.NoError(t, loadNow(t.Context(), st).err)
			time.Sleep(st.maxStaleness / 2000)
		}
		// 50 ms, 100 ms, 200 ms, ... with jitter of half, within the second that is left.
		require.GreaterOrEqual(t, remote.loadCount(), 3)
		require.LessOrEqual(t, remote.loadCount(), 8)
	})
}

func TestRefreshesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(10 * time.Minute)
		st := NewRoutingStorage(remote, 100, WithRefreshConcurrency(3))
		defer func() { require.NoError(t, st.Close()) }()
		var releases []func()
		for i := range 10 {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
			releases = append(releases, remote.hold("load", "request"))
		}
		time.Sleep(st.maxStaleness / 2)
		loadAll := func() {
			for i := range 10 {
				_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
				require.NoError(t, err)
			}
			synctest.Wait()
		}
		loadAll()
		loadAll()
		require.Equal(t, 3, remote.loadCount())
		for _, release := range releases {
			release()
		}
		for range 4 {
			loadAll()
		}
		require.Equal(t, 10, remote.loadCount())
	})
}

func TestRemoteThatDoesNotAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "x")
		release := remote.hold("load", "reply") // and does not heed its context
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

func TestEvictedSessionComesBackFromTheRemote(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		for i := range 150 {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
		}
		require.Equal(t, 100, st.Stats().Entries)
		require.EqualValues(t, 50, st.Stats().Evictions)
		_, err := st.Load(t.Context(), "id-0")
		require.NoError(t, err)
		require.Equal(t, 1, remote.loadCount())
	})
}

func TestNothingIsLeftOfCallsThatHaveEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		for i := range 1000 {
			id := fmt.Sprint("id-", i)
			_, err := st.Load(t.Context(), id)
			require.ErrorIs(t, err, ErrNotFound)
			require.NoError(t, st.Store(t.Context(), New(id)))
			require.NoError(t, st.Delete(t.Context(), id))
		}
		require.Zero(t, st.Stats().Entries)
		require.Empty(t, st.calls)
		require.Empty(t, st.flights)
	})
}

func TestCloseDuringAWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID)) })
		synctest.Wait()
		require.NoError(t, st.Close())
		release()
		require.NoError(t, <-stored, "the remote has it")
		require.Zero(t, st.Stats().Entries)
	})
}

func TestRoutingStorageRefusesNonsense(t *testing.T) {
	t.Parallel()
	remote := NewMemoryStorage(time.Hour)
	var forgotten *MemoryStorage
	for name, construct := range map[string]func(){
		"no remote":             func() { NewRoutingStorage(nil, 1) },
		"a nil pointer":         func() { NewRoutingStorage(forgotten, 1) },
		"no entries":            func() { NewRoutingStorage(remote, 0) },
		"negative entries":      func() { NewRoutingStorage(remote, -1) },
		"negative staleness":    func() { NewRoutingStorage(remote, 1, WithMaxStaleness(-1)) },
		"negative refresh":      func() { NewRoutingStorage(remote, 1, WithRefreshAfter(-1)) },
		"negative load timeout": func() { NewRoutingStorage(remote, 1, WithLoadTimeout(-1)) },
		"negative concurrency":  func() { NewRoutingStorage(remote, 1, WithRefreshConcurrency(-1)) },
	} {
		require.Panics(t, construct, name)
	}
	st := NewRoutingStorage(remote, 1,
		WithMaxStaleness(0), WithRefreshAfter(0), WithLoadTimeout(0), WithRefreshConcurrency(0))
	defer func() { require.NoError(t, st.Close()) }()
	require.Equal(t, 2*time.Second, st.maxStaleness)
	require.Equal(t, time.Minute, st.refreshAfter)
	require.Equal(t, 2*time.Second, st.loadTimeout)
	require.Equal(t, 16, st.refresher.limit)
}
