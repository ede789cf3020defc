package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

// stagedRemote is a MemoryStorage whose calls a test can stop: at the request, before their effect, or at the reply,
// after it. It counts the loads, and reports no changes.
type stagedRemote struct {
	*MemoryStorage

	mu    sync.Mutex
	stops map[stopAt][]*stop
	held  []*stop
	loads int
}

type stopAt struct {
	op  string // "load", "store", "delete"
	way string // "request" or "reply"
}

type stop struct {
	release chan struct{}
	once    sync.Once
	err     error // what the caller gets in the place of the answer
}

func newStagedRemote(ttl time.Duration) *stagedRemote {
	return &stagedRemote{MemoryStorage: NewMemoryStorage(ttl), stops: make(map[stopAt][]*stop)}
}

// hold stops the next call of op that is not stopped there already, until the returned function is called.
func (r *stagedRemote) hold(op, way string) (release func()) {
	s := &stop{release: make(chan struct{})}
	r.add(op, way, s)
	return s.open
}

func (s *stop) open() { s.once.Do(func() { close(s.release) }) }

// releaseAll lets a test that has failed end.
func (r *stagedRemote) releaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.held {
		s.open()
	}
}

func (r *stagedRemote) Watch(context.Context, time.Duration, func(Event)) error {
	return errors.ErrUnsupported
}

// fail lets the next call of op fail: at "request" it has no effect, at "reply" it had it and only the answer is lost.
func (r *stagedRemote) fail(op, way string, err error) {
	s := &stop{release: make(chan struct{}), err: err}
	s.open()
	r.add(op, way, s)
}

func (r *stagedRemote) add(op, way string, s *stop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops[stopAt{op, way}] = append(r.stops[stopAt{op, way}], s)
	r.held = append(r.held, s)
}

func (r *stagedRemote) pass(op, way string) error {
	r.mu.Lock()
	at := stopAt{op, way}
	var s *stop
	if len(r.stops[at]) > 0 {
		s, r.stops[at] = r.stops[at][0], r.stops[at][1:]
	}
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	<-s.release // whatever the context says: a remote may ignore it
	return s.err
}

func (r *stagedRemote) Load(ctx context.Context, id string) (*Session, error) {
	r.mu.Lock()
	r.loads++
	r.mu.Unlock()
	if err := r.pass("load", "request"); err != nil {
		return nil, err
	}
	s, err := r.MemoryStorage.Load(context.WithoutCancel(ctx), id)
	if lost := r.pass("load", "reply"); lost != nil {
		return nil, lost
	}
	return s, err
}

func (r *stagedRemote) Store(ctx context.Context, s *Session) error {
	if err := r.pass("store", "request"); err != nil {
		return err
	}
	own := s.clone()
	err := r.MemoryStorage.Store(context.WithoutCancel(ctx), own)
	if lost := r.pass("store", "reply"); lost != nil {
		return lost
	}
	if err == nil {
		Stamp(s, own.Revision())
	}
	return err
}

func (r *stagedRemote) Delete(ctx context.Context, id string) error {
	if err := r.pass("delete", "request"); err != nil {
		return err
	}
	err := r.MemoryStorage.Delete(context.WithoutCancel(ctx), id)
	if lost := r.pass("delete", "reply"); lost != nil {
		return lost
	}
	return err
}

func (r *stagedRemote) loadCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loads
}

// elsewhere changes a session behind the back of the storage under test, as another replica does.
func (r *stagedRemote) elsewhere(t *testing.T, id, value string) {
	t.Helper()
	require.NoError(t, r.MemoryStorage.Store(t.Context(), New(id).With("v", value)))
}

const (
	testID    = "3DQ7JZ2N5W"
	staleness = 2 * time.Second // MaxStaleness, unless a test sets it
)

var errLink error = syscall.ECONNRESET // its text may be shown

// outcome is what a call in the background returned.
type outcome struct {
	value string // of the metadata key "v"
	err   error
}

// loadLater loads testID in the background. In a bubble, synctest.Wait lets it get as far as it can.
func loadLater(ctx context.Context, st Storage) <-chan outcome {
	done := make(chan outcome, 1)
	go func() { done <- loadNow(ctx, st) }()
	return done
}

func loadNow(ctx context.Context, st Storage) outcome {
	s, err := st.Load(ctx, testID)
	if err != nil {
		return outcome{err: err}
	}
	v, _ := s.Get("v")
	return outcome{value: v}
}

func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// scriptedRemote is a stagedRemote whose events a test makes up.
type scriptedRemote struct {
	*stagedRemote
	events chan Event // what Watch reports
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

// report delivers events, and returns when they have been taken in.
func (r *scriptedRemote) report(events ...Event) {
	for _, e := range events {
		r.events <- e
	}
	synctest.Wait()
}

// inScriptedBubble is inBubble with a remote that reports what the test says.
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

// inBubble runs a test of a RoutingStorage over a staged remote with a TTL of ten minutes, in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, remote *stagedRemote, st *RoutingStorage), opts ...RoutingOption) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(10 * time.Minute)
		st := NewRoutingStorage(remote, 100, opts...)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		test(t, remote, st)
	})
}

// Age makes local copies older by d: for remotes whose clock a test moves.
func (rt *RoutingStorage) Age(d time.Duration) { rt.cache.Age(d) }
