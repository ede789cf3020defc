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
