package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
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
