package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
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
			time.Sleep(staleness / 100)
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
		time.Sleep(staleness / 2)
		require.NoError(t, loadNow(t.Context(), st).err, "served, and refreshed in the background")
		synctest.Wait()
		require.Zero(t, st.Stats().FailedRefreshes, "an answer is no failure")
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestRefreshConcurrencyIsAnOption(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("load", "request")
		for i := range 10 {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
		}
		time.Sleep(staleness / 2)
		for i := range 10 {
			_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, 1, remote.loadCount())
		release()
		synctest.Wait()
		require.Equal(t, 10, remote.loadCount())
		require.EqualValues(t, 10, st.Stats().Refreshes)
	}, WithRefreshConcurrency(1))
}

// askedTogether is a Revalidator that says of all sessions that they have not changed.
type askedTogether struct {
	*stagedRemote
	asked []string
}

func (r *askedTogether) Revalidate(_ context.Context, uses []Use) ([]bool, error) {
	unchanged := make([]bool, len(uses))
	for i, u := range uses {
		r.asked, unchanged[i] = append(r.asked, u.ID), true
	}
	return unchanged, nil
}

func TestDueSessionsAreRevalidatedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &askedTogether{stagedRemote: newStagedRemote(10 * time.Minute)}
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		ids := []string{"id-0", "id-1"}
		for _, id := range ids {
			require.NoError(t, st.Store(t.Context(), New(id)))
		}
		time.Sleep(staleness / 2)
		for _, id := range ids {
			_, err := st.Load(t.Context(), id)
			require.NoError(t, err)
		}
		time.Sleep(staleness / 4) // so that others may join
		synctest.Wait()
		require.Equal(t, ids, remote.asked)
		require.Zero(t, remote.loadCount())
		require.EqualValues(t, 2, st.Stats().Refreshes)
	})
}

func TestLocalCopyStampedElsewhereIsNotServed(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		handedOut, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		want := handedOut.Revision()
		Stamp(handedOut, want+1) // as another storage does that it was stored in
		got, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, want, got.Revision())
		require.Equal(t, 1, remote.loadCount())
	})
}

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
		"no remote":               func() { NewRoutingStorage(nil, 1) },
		"a nil pointer":           func() { NewRoutingStorage(forgotten, 1) },
		"no entries":              func() { NewRoutingStorage(remote, 0) },
		"negative entries":        func() { NewRoutingStorage(remote, -1) },
		"negative staleness":      func() { NewRoutingStorage(remote, 1, WithMaxStaleness(-1)) },
		"negative refresh":        func() { NewRoutingStorage(remote, 1, WithRefreshAfter(-1)) },
		"negative load timeout":   func() { NewRoutingStorage(remote, 1, WithLoadTimeout(-1)) },
		"negative concurrency":    func() { NewRoutingStorage(remote, 1, WithRefreshConcurrency(-1)) },
		"negative stale-if-error": func() { NewRoutingStorage(remote, 1, WithStaleIfError(-1)) },
		"negative local bytes":    func() { NewRoutingStorage(remote, 1, WithMaxLocalBytes(-1)) },
		"negative misses":         func() { NewRoutingStorage(remote, 1, WithRememberedMisses(-1)) },
	} {
		require.Panics(t, construct, name)
	}
	var o routingOptions
	for _, opt := range []RoutingOption{
		WithMaxStaleness(0), WithRefreshAfter(0), WithLoadTimeout(0), WithRefreshConcurrency(0), WithStaleIfError(0),
		WithLogger(nil),
	} {
		opt.applyRouting(&o)
	}
	require.Equal(t, 2*time.Second, o.maxStaleness)
	require.Equal(t, time.Minute, refreshInterval(o.refreshAfter, 0))
	require.Equal(t, 2*time.Second, o.loadTimeout)
	require.Equal(t, 16, o.refreshConcurrency)
	require.Zero(t, o.staleIfError)
	require.Equal(t, slog.Default(), o.logger)
}

func TestLimitThatIsMeantAsNone(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(fourMethods{NewMemoryStorage(time.Hour)}, math.MaxInt)
	require.NoError(t, st.Store(t.Context(), New(testID)))
	require.NoError(t, loadNow(t.Context(), st).err)
	require.NoError(t, st.Close())
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

func TestHitsSendNoCommand(t *testing.T) {
	t.Parallel()
	_, client, log := embedded.Start(t)
	st := NewRoutingStorage(fourMethods{NewRedisStorage(client, time.Hour)}, 10, WithMaxStaleness(time.Hour))
	defer func() { require.NoError(t, st.Close()) }()
	require.NoError(t, st.Store(t.Context(), New(testID)))
	log.Take()
	for range 100_000 {
		if _, err := st.Load(t.Context(), testID); err != nil {
			require.NoError(t, err)
		}
	}
	require.Empty(t, log.Take())
}

func TestBusySessionCostsTwoCommandsAPeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, log := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		const ttl, periods = 8 * time.Second, 40                               // that is ten TTLs
		st := NewRoutingStorage(fourMethods{NewRedisStorage(client, ttl)}, 10) // no events, and the TTL is not known
		defer func() { require.NoError(t, st.Close()) }()
		require.NoError(t, st.Store(t.Context(), New(testID)))
		require.NoError(t, st.Store(t.Context(), New("idle-twin")))
		log.Take()

		for range periods * 1000 {
			time.Sleep(staleness / 1000)
			if _, err := st.Load(t.Context(), testID); err != nil {
				require.NoError(t, err)
			}
		}
		require.Zero(t, st.Stats().Misses)
		commands := log.Take()
		require.GreaterOrEqual(t, len(commands), 2*periods-1)
		require.LessOrEqual(t, len(commands), 3*periods)
		_, err := st.Load(t.Context(), "idle-twin")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestRefreshDoesNotEvictAnothersCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, _ := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		remote := NewRedisStorage(client, time.Minute)
		a, b := NewRoutingStorage(remote, 10), NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, errors.Join(a.Close(), b.Close())) }()
		require.NoError(t, a.Store(t.Context(), New(testID)))
		require.NoError(t, loadNow(t.Context(), b).err)
		for range 10 {
			require.NoError(t, loadNow(t.Context(), a).err) // refreshes
			synctest.Wait()
			require.NoError(t, loadNow(t.Context(), b).err)
			time.Sleep(staleness / 10)
		}
		require.Zero(t, a.Stats().Misses)
		require.EqualValues(t, 1, b.Stats().Misses)
	})
}

// freshNow is loadNow with LoadFresh.
func freshNow(ctx context.Context, st *RoutingStorage) outcome {
	s, err := st.LoadFresh(ctx, testID)
	if err != nil {
		return outcome{err: err}
	}
	v, _ := s.Get("v")
	return outcome{value: v}
}

func TestLoadFreshSeesWhatLoadMayMiss(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		remote.elsewhere(t, testID, "new")
		require.Equal(t, "old", loadNow(t.Context(), st).value, "within MaxStaleness")
		require.Equal(t, outcome{value: "new"}, freshNow(t.Context(), st))
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.Equal(t, 1, remote.loadCount())

		require.NoError(t, remote.MemoryStorage.Delete(t.Context(), testID))
		require.NoError(t, loadNow(t.Context(), st).err)
		require.ErrorIs(t, freshNow(t.Context(), st).err, ErrNotFound)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestLoadFreshJoinsNoOlderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		before := loadLater(t.Context(), st)
		synctest.Wait()
		remote.elsewhere(t, testID, "new")
		require.Equal(t, outcome{value: "new"}, freshNow(t.Context(), st))
		release()
		require.Equal(t, outcome{value: "old"}, <-before)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestLoadFreshInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "known")))
		time.Sleep(2 * staleness)
		for range 10 {
			remote.fail("load", "request", errLink)
		}
		require.Equal(t, outcome{value: "known"}, loadNow(t.Context(), st))
		err := freshNow(t.Context(), st).err
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, errLink)
		require.NotContains(t, err.Error(), testID)
	}, WithStaleIfError(time.Hour))
}

func TestLoadFreshRefusesNonsense(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *stagedRemote, st *RoutingStorage) {
		_, err := st.LoadFresh(t.Context(), "")
		require.ErrorIs(t, err, ErrInvalidID)
		require.NoError(t, st.Store(t.Context(), New(testID)))
		require.ErrorIs(t, freshNow(cancelled(t.Context()), st).err, context.Canceled, "a copy is no answer")
		require.NoError(t, st.Close())
		err = freshNow(t.Context(), st).err
		require.ErrorIs(t, err, ErrClosed)
		require.EqualError(t, err, "session: load fresh: storage closed")
	})
}

func TestLoadFreshOfASessionThatEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, remote.Store(t.Context(), New(testID).WithExpiresAt(time.Now().Add(time.Second))))
		release := remote.hold("load", "reply")
		loaded := make(chan outcome, 1)
		go func() { loaded <- freshNow(t.Context(), st) }()
		time.Sleep(time.Second)
		release()
		require.ErrorIs(t, (<-loaded).err, ErrNotFound)
	})
}

// TestLoadFreshOnRedis has one replica change what the other has a copy of, with no event in between.
func TestLoadFreshOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := func() *RoutingStorage {
		remote := NewRedisStorage(server.Client(t), time.Hour)
		st := NewRoutingStorage(fourMethods{remote}, 100, WithMaxStaleness(time.Hour))
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		return st
	}
	a, b := replica(), replica()
	s := New(testID).With("v", "old")
	require.NoError(t, a.Store(t.Context(), s))
	require.Equal(t, "old", loadNow(t.Context(), b).value)
	require.NoError(t, a.Store(t.Context(), s.With("v", "new")))
	require.Equal(t, "old", loadNow(t.Context(), b).value)
	require.Equal(t, outcome{value: "new"}, freshNow(t.Context(), b))
	require.NoError(t, a.Delete(t.Context(), testID))
	require.Equal(t, "new", loadNow(t.Context(), b).value)
	require.ErrorIs(t, freshNow(t.Context(), b).err, ErrNotFound)
	require.ErrorIs(t, loadNow(t.Context(), b).err, ErrNotFound)
}

// peekingRemote counts the peeks of a stagedRemote, and may fail the next one.
type peekingRemote struct {
	*stagedRemote
	peeks int
	err   error
	found *Session
}

func (r *peekingRemote) Peek(ctx context.Context, id string) (*Session, error) {
	r.peeks++
	if r.err != nil || r.found != nil {
		return r.found, r.err
	}
	return r.MemoryStorage.Peek(ctx, id)
}

// Watch proves once that nothing is missing, and reports nothing more.
func (r *peekingRemote) Watch(ctx context.Context, _ time.Duration, fn func(Event)) error {
	fn(Gap{})
	fn(Alive{AsOf: time.Now()})
	<-ctx.Done()
	return ctx.Err()
}

// inPeekingBubble is inBubble with a remote that counts peeks.
func inPeekingBubble(t *testing.T, test func(t *testing.T, remote *peekingRemote, st *RoutingStorage)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &peekingRemote{stagedRemote: newStagedRemote(10 * time.Minute)}
		st := NewRoutingStorage(remote, 100)
		defer func() { require.NoError(t, st.Close()) }()
		synctest.Wait()
		test(t, remote, st)
	})
}

func TestPeekThroughARoutingStorage(t *testing.T) {
	inPeekingBubble(t, func(t *testing.T, remote *peekingRemote, st *RoutingStorage) {
		peek := func() outcome {
			s, err := st.Peek(t.Context(), testID)
			if err != nil {
				return outcome{err: err}
			}
			v, _ := s.Get("v")
			return outcome{value: v}
		}
		require.ErrorIs(t, peek().err, ErrNotFound)
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		remote.elsewhere(t, testID, "new")
		require.Equal(t, outcome{value: "old"}, peek(), "a copy under the lease answers")
		require.Equal(t, 1, remote.peeks)
		time.Sleep(staleness)
		require.Equal(t, outcome{value: "new"}, peek())
		require.Equal(t, outcome{value: "new"}, peek(), "and is no copy")
		require.Equal(t, 3, remote.peeks)
		require.Zero(t, remote.loadCount())
		require.Zero(t, st.Stats().Hits)

		time.Sleep(10*time.Minute - staleness)
		require.ErrorIs(t, peek().err, ErrNotFound, "the peeks did not keep it alive")
		require.NoError(t, st.Close())
		require.ErrorIs(t, peek().err, ErrClosed)
	})
}

func TestPeekThatGetsNoAnswer(t *testing.T) {
	inPeekingBubble(t, func(t *testing.T, remote *peekingRemote, st *RoutingStorage) {
		_, err := st.Peek(t.Context(), "")
		require.ErrorIs(t, err, ErrInvalidID)
		_, err = st.Peek(cancelled(t.Context()), testID)
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, remote.peeks)
		for _, test := range []struct {
			found     *Session
			err, want error
		}{
			{nil, errLink, ErrUnavailable},
			{nil, errors.New("no key " + testID), ErrUnavailable},
			{nil, ErrCorrupt, ErrCorrupt},
			{nil, errors.ErrUnsupported, errors.ErrUnsupported},
			{New("another"), nil, ErrCorrupt},
			{New(testID).WithExpiresAt(time.Now()), nil, ErrNotFound},
		} {
			remote.found, remote.err = test.found, test.err
			s, err := st.Peek(t.Context(), testID)
			require.ErrorIs(t, err, test.want)
			require.NotContains(t, err.Error(), testID)
			require.Nil(t, s)
		}
	})
}

func TestPeekWithoutAPeeker(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(fourMethods{NewMemoryStorage(time.Hour)}, 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.NoError(t, st.Store(t.Context(), New(testID)))
	_, err := st.Peek(t.Context(), testID)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.EqualError(t, err,
		"session: peek: unsupported operation: the remote, a session.fourMethods, is not a Peeker")
}

// TestSweepReachesLocalCopies: what DeleteExpired has removed is not served when it has returned. Without events, and
// without waiting.
func TestSweepReachesLocalCopies(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(m *MemoryStorage) Storage{
		"with events":                        func(m *MemoryStorage) Storage { return m },
		"without events":                     func(m *MemoryStorage) Storage { return fourMethods{m} },
		"whose reply is lost":                func(m *MemoryStorage) Storage { return lostSweep{m, errLink} },
		"whose answer is not to be believed": func(m *MemoryStorage) Storage { return lostSweep{m, errors.ErrUnsupported} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory := NewMemoryStorage(time.Hour)
				st := NewRoutingStorage(wrap(memory), 10, WithMaxStaleness(time.Minute))
				defer func() { require.NoError(t, st.Close()) }()
				require.NoError(t, st.Store(t.Context(), New("idle")))
				time.Sleep(10 * time.Second)
				before := time.Now()
				require.NoError(t, st.Store(t.Context(), New("busy")))
				time.Sleep(10 * time.Second)
				for _, id := range []string{"idle", "busy"} { // hits of which the remote does not learn yet
					_, err := st.Load(t.Context(), id)
					require.NoError(t, err)
				}
				err := st.DeleteExpired(t.Context(), before)
				if _, ok := st.remote.(lostSweep); ok {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
				}
				_, err = st.Load(t.Context(), "idle")
				require.ErrorIs(t, err, ErrNotFound)
				_, err = st.Load(t.Context(), "busy")
				require.NoError(t, err)
				require.EqualValues(t, 3, st.Stats().Hits, "its copy has stayed")
			})
		})
	}
}

// lostSweep is a storage whose DeleteExpired takes effect, and returns an error.
type lostSweep struct {
	*MemoryStorage
	err error
}

func (l lostSweep) DeleteExpired(ctx context.Context, before time.Time) error {
	_ = l.MemoryStorage.DeleteExpired(ctx, before)
	return l.err
}

// heldSweep is a storage whose DeleteExpired waits before it removes anything.
type heldSweep struct {
	*MemoryStorage
	release chan struct{}
}

func (h heldSweep) DeleteExpired(ctx context.Context, before time.Time) error {
	<-h.release
	return h.MemoryStorage.DeleteExpired(ctx, before)
}

func TestSweepDropsWhatIsLoadedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := heldSweep{NewMemoryStorage(time.Hour), make(chan struct{})}
		st := NewRoutingStorage(fourMethods{remote}, 10)
		defer func() { require.NoError(t, st.Close()) }()
		require.NoError(t, st.Store(t.Context(), New(testID)))
		swept := later(func() error { return st.DeleteExpired(t.Context(), time.Now().Add(time.Minute)) })
		synctest.Wait()
		require.NoError(t, freshNow(t.Context(), st).err)
		close(remote.release)
		require.NoError(t, <-swept)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestSweepOnRedisRemovesNothing(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	st := NewRoutingStorage(NewRedisStorage(client, time.Hour), 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.NoError(t, st.Store(t.Context(), New(testID)))
	require.NoError(t, st.DeleteExpired(t.Context(), time.Now()))
	_, err := st.Load(t.Context(), testID)
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Stats().RemoteLoads, "the local copy was dropped")
	require.NoError(t, client.Del(t.Context(), "session: "+testID).Err(), "as Redis expires it")
	require.NoError(t, st.DeleteExpired(t.Context(), time.Now()))
	_, err = st.Load(t.Context(), testID)
	require.ErrorIs(t, err, ErrNotFound)
}

// TestPeekAtAKeyThatOutlivesItsSession: a key may have been given a longer life than its session has.
func TestPeekAtAKeyThatOutlivesItsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, client, _ := embedded.StartInBubble(t)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		st := NewRedisStorage(client, time.Minute)
		require.NoError(t, st.Store(t.Context(), New(testID).WithExpiresAt(time.Now().Add(10*time.Second))))
		require.NoError(t, client.Expire(t.Context(), "session: "+testID, time.Hour).Err())
		time.Sleep(10*time.Second - time.Millisecond)
		_, err := st.Peek(t.Context(), testID)
		require.NoError(t, err)
		time.Sleep(time.Millisecond)
		s, err := st.Peek(t.Context(), testID)
		require.ErrorIs(t, err, ErrNotFound)
		require.Nil(t, s)
		require.Equal(t, time.Hour-10*time.Second, client.PTTL(t.Context(), "session: "+testID).Val())
	})
}
