package session

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// scriptedRemote is a stagedRemote whose events a test makes up.
type scriptedRemote struct {
	*stagedRemote
	events chan Event // what Watch reports; an error ends it
}

// brokenOff ends a Watch.
type brokenOff struct{ Event }

func (r *scriptedRemote) Watch(ctx context.Context, _ time.Duration, fn func(Event)) error {
	for {
		select {
		case e := <-r.events:
			if _, ok := e.(brokenOff); ok {
				return errLink
			}
			fn(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func inScriptedBubble(
	t *testing.T, test func(t *testing.T, remote *scriptedRemote, st *RoutingStorage), opts ...RoutingOption,
) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &scriptedRemote{newStagedRemote(10 * time.Minute), make(chan Event)}
		st := NewRoutingStorage(remote, 100, opts...)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		test(t, remote, st)
	})
}

// report delivers events, and returns when they have been taken in.
func (r *scriptedRemote) report(events ...Event) {
	for _, e := range events {
		r.events <- e
	}
	synctest.Wait()
}

// flow reports a Gap, and from then on proofs as often as a heartbeat, until stopped.
func (r *scriptedRemote) flow(st *RoutingStorage) (stop func()) {
	ctx, cancel := context.WithCancel(st.closing)
	r.report(Gap{}, Alive{AsOf: time.Now()})
	go func() {
		for {
			select {
			case <-time.After(st.maxStaleness / 4):
			case <-ctx.Done():
				return
			}
			select {
			case r.events <- Alive{AsOf: time.Now()}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

func TestServingRule(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(fourMethods{NewMemoryStorage(time.Hour)}, 1)
	defer func() { require.NoError(t, st.Close()) }()
	const s = instant(2 * time.Second)
	for _, test := range []struct {
		name             string
		fetched, expires instant
		entry, lease     uint64 // epochs
		until, now       instant
		want             bool
	}{
		{"young", 0, never, 0, 0, 0, s - 1, true},
		{"too old", 0, never, 0, 0, 0, s, false},
		{"leased", 0, never, 1, 1, 10 * s, 10*s - 1, true},
		{"the lease has run out", 0, never, 1, 1, 10 * s, 10 * s, false},
		{"another epoch's lease", 0, never, 1, 2, 10 * s, s, false},
		{"another epoch's lease, but young", 0, never, 1, 2, 10 * s, s - 1, true},
		{"expired though young", 0, s / 2, 0, 0, 0, s / 2, false},
		{"expired though leased", 0, 5 * s, 1, 1, 10 * s, 5 * s, false},
		{"just before it expires", 0, 5 * s, 1, 1, 10 * s, 5*s - 1, true},
	} {
		e := &entry{session: New(testID), fetchedAt: test.fetched, expiresAt: test.expires, epoch: test.entry}
		l := &lease{epoch: test.lease, until: test.until}
		require.Equal(t, test.want, st.servable(e, l, test.now), test.name)
	}
}

func TestLeasedHitsCostNothingForAsLongAsEventsFlow(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		require.NoError(t, st.Store(t.Context(), New(testID)))
		for range 300 { // 5 minutes: half of the TTL
			time.Sleep(time.Second)
			require.NoError(t, loadNow(t.Context(), st).err)
		}
		synctest.Wait()
		require.Zero(t, st.Stats().Misses)
		require.Equal(t, 5, remote.loadCount(), "RefreshAfter is a minute")
		require.Equal(t, ModeLeased, st.Stats().Mode)
	})
}

func TestLeaseRunsOutAfterTheLastProof(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		stop := remote.flow(st)
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		proven := time.Now().Add(time.Minute) // by the last proof
		time.Sleep(time.Minute + time.Millisecond)
		stop()
		remote.elsewhere(t, testID, "new")
		time.Sleep(time.Until(proven.Add(st.maxStaleness)) - 1)
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		require.Equal(t, ModeLeased, st.Stats().Mode)
		time.Sleep(time.Nanosecond)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.EqualValues(t, 1, st.Stats().Refused)
		require.Equal(t, st.maxStaleness, st.Stats().ProofAge)
	}, WithRefreshAfter(time.Hour))
}

func TestLeaseOutlivesTheWatch(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		stop := remote.flow(st)
		require.NoError(t, st.Store(t.Context(), New(testID)))
		proven := time.Now().Add(time.Minute) // by the last proof
		time.Sleep(time.Minute + time.Millisecond)
		stop()
		for range 10_000 {
			remote.fail("load", "request", errLink)
		}
		// The remote is away, and so is each further attempt to watch.
		for time.Now().Before(proven.Add(st.maxStaleness - time.Millisecond)) {
			select {
			case remote.events <- brokenOff{}:
			case <-time.After(time.Millisecond):
			}
			require.NoError(t, loadNow(t.Context(), st).err, "hits go on for as long as what was proven allows")
		}
		time.Sleep(time.Millisecond)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
	}, WithRefreshAfter(time.Hour))
}

func TestProofAheadOfTheGapIsNotBelieved(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{}, Alive{AsOf: time.Now()})
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		remote.report(brokenOff{})
		remote.elsewhere(t, testID, "new") // nobody reports it
		time.Sleep(st.maxStaleness)
		remote.report(Alive{AsOf: time.Now()}) // by a Watch that has forgotten its Gap
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestLeaseCountsFromWhatIsProven(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{})
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		sent := time.Now()
		remote.elsewhere(t, testID, "new") // after the heartbeat was sent; the event is lost
		time.Sleep(st.maxStaleness / 2)
		remote.report(Alive{AsOf: sent}) // slow: a stalled callback, or a slow link
		time.Sleep(st.maxStaleness / 2)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestOlderProofDoesNotShortenTheLease(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		now := time.Now()
		remote.report(Gap{})
		require.NoError(t, st.Store(t.Context(), New(testID)))
		remote.report(Alive{AsOf: now}, Alive{AsOf: now.Add(-st.maxStaleness)})
		require.Equal(t, ModeLeased, st.Stats().Mode)
	})
}

func TestProofOfTheFutureIsNotBelieved(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{}, Alive{AsOf: time.Now().Add(time.Hour)})
		time.Sleep(st.maxStaleness)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
	})
}

func TestEntryFromBeforeAGapIsNotCovered(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		remote.elsewhere(t, testID, "new") // lost: exactly one event
		remote.report(Gap{})
		require.Equal(t, "old", loadNow(t.Context(), st).value, "within the bound it may be")
		time.Sleep(st.maxStaleness)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.EqualValues(t, 2, st.Stats().Gaps)
	}, WithRefreshAfter(time.Hour))
}

func TestLeaseIsReadBeforeTheEntryIsLookedUp(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{})
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(st.maxStaleness) // the link for events stalls

		read := st.lease.read() // a load begins
		remote.report(Alive{AsOf: time.Now()})
		e, _ := st.hit(read, testID)
		require.Nil(t, e, "what came before the proof may have removed the entry, had it not been found already")
		e, _ = st.hit(st.lease.read(), testID)
		require.NotNil(t, e)
	})
}

func TestEpochIsReadBeforeTheCall(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		loaded := loadLater(t.Context(), st)
		synctest.Wait()                    // the answer has been read
		remote.elsewhere(t, testID, "new") // the event is lost
		remote.report(Gap{})
		release()
		require.Equal(t, "old", (<-loaded).value)
		time.Sleep(st.maxStaleness)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	}, WithRefreshAfter(time.Hour))
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		event func(revision uint64) Event
		loads int
	}{
		"own write comes back": {func(rev uint64) Event { return Changed{ID: testID, Revision: rev} }, 0},
		"older, out of order":  {func(rev uint64) Event { return Changed{ID: testID, Revision: rev - 1} }, 0},
		"newer":                {func(rev uint64) Event { return Changed{ID: testID, Revision: rev + 1} }, 1},
		"removed":              {func(uint64) Event { return Removed{ID: testID} }, 1},
		"another session":      {func(rev uint64) Event { return Changed{ID: "another", Revision: rev + 1} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
				s := New(testID)
				require.NoError(t, st.Store(t.Context(), s))
				remote.report(Gap{}, test.event(s.Revision()), test.event(s.Revision()))
				require.NoError(t, loadNow(t.Context(), st).err)
				require.Equal(t, test.loads, remote.loadCount())
				require.EqualValues(t, test.loads, st.Stats().Revoked)
				require.EqualValues(t, 2, st.Stats().Events)
			})
		})
	}
}

func TestOwnEventOvertakesTheReply(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{})
		release := remote.hold("store", "reply")
		s := New(testID).With("v", "mine")
		stored := later(func() error { return st.Store(t.Context(), s) })
		synctest.Wait()
		there, err := remote.MemoryStorage.Load(t.Context(), testID)
		require.NoError(t, err)
		remote.report(Changed{ID: testID, Revision: there.Revision()})
		release()
		require.NoError(t, <-stored)
		require.Equal(t, "mine", loadNow(t.Context(), st).value)
		require.Zero(t, remote.loadCount(), "it was promoted")
	})
}

func TestStoreOvertakenByAnEvent(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]func(revision uint64) Event{
		"newer":   func(revision uint64) Event { return Changed{ID: testID, Revision: revision + 1} },
		"removed": func(uint64) Event { return Removed{ID: testID} },
	} {
		t.Run(name, func(t *testing.T) {
			inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
				remote.report(Gap{})
				release := remote.hold("store", "reply")
				stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "mine")) })
				synctest.Wait()
				there, err := remote.MemoryStorage.Load(t.Context(), testID)
				require.NoError(t, err)
				remote.report(event(there.Revision()))
				release()
				require.NoError(t, <-stored)
				require.Zero(t, st.Stats().Entries)
			})
		})
	}
}

func TestWatchingIsTriedAgain(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		start := time.Now()
		for range 10 {
			remote.report(brokenOff{}) // blocks until the next Watch
		}
		// The pauses before: 0, 0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1, 1 s, at least a half of each.
		require.Greater(t, time.Since(start), 6500*time.Millisecond/2)
		require.Less(t, time.Since(start), 6501*time.Millisecond)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		remote.report(Gap{})
		remote.report(Alive{AsOf: time.Now()})
		require.Equal(t, ModeLeased, st.Stats().Mode)

		remote.report(brokenOff{})
		start = time.Now()
		remote.report(Gap{})
		require.LessOrEqual(t, time.Since(start), minWatchPause, "after it has worked it begins anew")
	})
}

func TestOneLogLineForEachChangeOfState(t *testing.T) {
	var log bytes.Buffer
	text := slog.New(slog.NewTextHandler(&log, nil))
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, _ *RoutingStorage) {
		for range 2 {
			for range 5 {
				remote.report(brokenOff{})
			}
			for range 5 {
				remote.report(Gap{}, Alive{AsOf: time.Now()})
			}
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

func TestWatcherThatCannotWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		remote.elsewhere(t, testID, "new")
		time.Sleep(st.maxStaleness)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		require.Negative(t, st.Stats().ProofAge)
	})
}

func TestGapCausesNoBurst(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		for i := range 100 {
			require.NoError(t, st.Store(t.Context(), New(fmt.Sprint("id-", i))))
		}
		time.Sleep(st.maxStaleness)
		remote.report(Gap{})
		time.Sleep(10 * st.maxStaleness)
		require.Zero(t, remote.loadCount())
		for range 10 {
			_, err := st.Load(t.Context(), "id-7")
			require.NoError(t, err)
		}
		require.Equal(t, 1, remote.loadCount(), "what is asked for comes back, and nothing else")
	})
}
