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
