package session

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The interleavings within the local tier are tested in internal/nearcache. Those here fail when RoutingStorage uses it
// wrongly: for example when it does not begin a write before it is sent, or does not end a write that failed.

func TestLoadDuringDeleteIsNotCached(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		releaseDelete := remote.hold("delete", "request")
		deleted := later(func() error { return st.Delete(t.Context(), testID) })
		synctest.Wait() // the local copy is dropped, the remote still has the session

		require.Equal(t, "old", loadNow(t.Context(), st).value)
		releaseDelete()
		require.NoError(t, <-deleted)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestNoLocalCopyDuringADelete(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		release := remote.hold("delete", "reply")
		deleted := later(func() error { return st.Delete(t.Context(), testID) })
		synctest.Wait() // the remote has deleted it, the answer is still to come
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		release()
		require.NoError(t, <-deleted)
	})
}

func TestLocalCopyIsDroppedWhenAWriteFails(t *testing.T) {
	t.Parallel()
	writes := map[string]func(t *testing.T, st *RoutingStorage) error{
		"store": func(t *testing.T, st *RoutingStorage) error {
			return st.Store(t.Context(), New(testID).With("v", "new"))
		},
		"delete": func(t *testing.T, st *RoutingStorage) error { return st.Delete(t.Context(), testID) },
	}
	for op, write := range writes {
		for _, way := range []string{"request", "reply"} {
			t.Run(op+" fails at the "+way, func(t *testing.T) {
				inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
					remote.elsewhere(t, testID, "old")
					require.NoError(t, loadNow(t.Context(), st).err)
					remote.fail(op, way, errLink)
					require.ErrorIs(t, write(t, st), ErrUnavailable)

					got := loadNow(t.Context(), st)
					require.Equal(t, 2, remote.loadCount(), "the remote is asked what became of it")
					switch {
					case way == "request":
						require.Equal(t, outcome{value: "old"}, got)
					case op == "store":
						require.Equal(t, outcome{value: "new"}, got)
					default:
						require.ErrorIs(t, got.err, ErrNotFound)
					}
				})
			})
		}
	}
}

func TestAgeOfAStoreCountsFromBeforeTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "old")) })
		synctest.Wait()
		remote.elsewhere(t, testID, "new")

		time.Sleep(staleness / 2)
		release()
		require.NoError(t, <-stored)
		time.Sleep(staleness / 2)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestFreshnessDoesNotSlideOnHits(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		remote.elsewhere(t, testID, "new")
		for range 1000 { // a hot key under a partition: refreshes fail, hits go on
			remote.fail("load", "request", errLink)
		}
		for range 20 {
			require.Equal(t, "old", loadNow(t.Context(), st).value)
			time.Sleep(staleness / 20)
		}
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
	})
}

func TestEventsReachTheLocalTier(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		require.Negative(t, st.Stats().ProofAge)
		remote.report(Gap{}, Alive{AsOf: time.Now()}) // a leased copy is not due for a refresh here
		s := New(testID).With("v", "mine")
		require.NoError(t, st.Store(t.Context(), s))
		time.Sleep(time.Second)
		remote.report(Changed{ID: testID, Revision: s.Revision()}, Alive{AsOf: time.Now()})
		require.Equal(t, ModeLeased, st.Stats().Mode)
		require.Zero(t, st.Stats().ProofAge)
		time.Sleep(staleness - 1)
		require.Equal(t, "mine", loadNow(t.Context(), st).value, "older than MaxStaleness, but leased")
		require.Zero(t, st.Stats().Misses)

		theirs := New(testID).With("v", "theirs")
		require.NoError(t, remote.Store(t.Context(), theirs))
		remote.report(Changed{ID: testID, Revision: theirs.Revision()})
		require.Equal(t, "theirs", loadNow(t.Context(), st).value)
		require.NoError(t, remote.Delete(t.Context(), testID))
		remote.report(Removed{ID: testID})
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		stats := st.Stats()
		require.EqualValues(t, 1, stats.Gaps)
		require.EqualValues(t, 3, stats.Events)
		require.EqualValues(t, 2, stats.Revoked)
		require.EqualValues(t, 2, stats.Misses)
	}, WithRefreshAfter(time.Hour))
}

func TestOneLogLineForEachChangeOfState(t *testing.T) {
	var log bytes.Buffer
	text := slog.New(slog.NewTextHandler(&log, nil))
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, _ *RoutingStorage) {
		for range 2 {
			for range 5 {
				remote.report(brokenOff{})
			}
			time.Sleep(time.Second) // what lasts is logged
			for range 5 {
				remote.report(Gap{}, Alive{AsOf: time.Now()})
			}
			time.Sleep(time.Second)
		}
		var levels []string
		for line := range strings.Lines(log.String()) {
			levels = append(levels, strings.Fields(line)[1])
			require.NotContains(t, line, testID)
		}
		require.Equal(t, []string{"level=WARN", "level=INFO", "level=WARN", "level=INFO"}, levels)
		require.Contains(t, log.String(), errLink.Error())
	}, WithLogger(text))
}

// TestRemoteThatIsNoWatcherIsLogged: a storage that is wrapped, for traces say, may have lost its capabilities.
func TestRemoteThatIsNoWatcherIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	text := slog.New(slog.NewTextHandler(&log, nil))
	st := NewRoutingStorage(fourMethods{NewMemoryStorage(time.Hour)}, 1, WithLogger(text))
	require.NoError(t, st.Close())
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "the remote, a session.fourMethods, is no Watcher")
}

// stallingWatcher delivers nothing for a while.
type stallingWatcher struct {
	*MemoryStorage
	from, until time.Time
}

func (w stallingWatcher) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	return w.MemoryStorage.Watch(ctx, heartbeat, func(e Event) {
		if !time.Now().Before(w.from) {
			time.Sleep(time.Until(w.until))
		}
		fn(e)
	})
}

func TestStalledCallback(t *testing.T) {
	t.Parallel()
	for _, writes := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Hour} {
		t.Run(fmt.Sprint("a write every ", writes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testStalledCallback(t, writes) })
		})
	}
}

func testStalledCallback(t *testing.T, interval time.Duration) {
	memory := NewMemoryStorage(time.Hour)
	start := time.Now()
	stalled, resumed := 5*time.Second+10*time.Millisecond, 11*time.Second
	remote := stallingWatcher{memory, start.Add(stalled), start.Add(resumed)}
	st := NewRoutingStorage(remote, 10, WithMaxStaleness(staleness))
	defer func() { require.NoError(t, st.Close()) }()

	for range 15_000 {
		at := time.Since(start)
		if at%interval == 0 {
			s := New(testID).With("v", strconv.Itoa(int(at/interval)))
			require.NoError(t, memory.Store(t.Context(), s))
		}
		version, err := strconv.Atoi(loadNow(t.Context(), st).value)
		require.NoError(t, err)
		if required := int((at - staleness) / interval); at >= staleness {
			require.GreaterOrEqual(t, version, required, "after %v", at)
		}
		switch at {
		case stalled + staleness, resumed - 1:
			require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		case stalled - time.Millisecond, resumed + staleness/4:
			require.Equal(t, ModeLeased, st.Stats().Mode)
		}
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, ModeLeased, st.Stats().Mode)
}
