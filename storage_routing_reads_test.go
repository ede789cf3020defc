package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

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

// inPeekingBubble is inBubble with a remote that counts peeks.
func inPeekingBubble(t *testing.T, test func(t *testing.T, remote *peekingRemote, st *RoutingStorage)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &peekingRemote{stagedRemote: newStagedRemote(10 * time.Minute)}
		st := NewRoutingStorage(remote, 100)
		defer func() { require.NoError(t, st.Close()) }()
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
		require.Equal(t, outcome{value: "old"}, peek(), "a copy answers as it does for Load")
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
