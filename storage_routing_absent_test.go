package session

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// corruptStorage has a value that is no session.
type corruptStorage struct{ *MemoryStorage }

func (corruptStorage) Load(context.Context, string) (*Session, error) { return nil, ErrCorrupt }

// TestRememberedMisses: unknown ids do not reach the remote, and one that is created elsewhere is found at once.
func TestRememberedMisses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := NewMemoryStorage(time.Hour)
		a := NewRoutingStorage(remote, 10, WithRememberedMisses(10))
		b := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, a.Close()) }()
		defer func() { require.NoError(t, b.Close()) }()
		time.Sleep(3 * time.Second) // now change events flow
		synctest.Wait()
		for i := range 100 {
			_, err := a.Load(t.Context(), "unknown-"+strconv.Itoa(i%10))
			require.ErrorIs(t, err, ErrNotFound)
			require.Equal(t, "session: load: not found", err.Error())
			require.NotContains(t, err.Error(), "unknown")
		}
		stats := a.Stats()
		require.EqualValues(t, 10, stats.RemoteLoads)
		require.EqualValues(t, 90, stats.Unknown)
		require.EqualValues(t, 10, stats.Misses)
		require.Equal(t, 10, stats.Missing)

		require.NoError(t, b.Create(t.Context(), New("unknown-1")))
		synctest.Wait()
		_, err := a.Load(t.Context(), "unknown-1")
		require.NoError(t, err)
		require.Equal(t, 9, a.Stats().Missing)
		_, err = a.Load(t.Context(), "invalid id")
		require.ErrorIs(t, err, ErrInvalidID)
	})
}

func TestCorruptSessionIsNoRememberedMiss(t *testing.T) {
	t.Parallel()
	remote := corruptStorage{NewMemoryStorage(time.Hour)}
	st := NewRoutingStorage(remote, 10, WithRememberedMisses(10))
	defer func() { require.NoError(t, st.Close()) }()
	for range 3 {
		_, err := st.Load(t.Context(), "id")
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.Zero(t, st.Stats().Missing)
}
