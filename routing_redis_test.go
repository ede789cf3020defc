package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest/embedded"
)

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

func TestBusySessionCostsTwoCommandsForEachPeriodOfStaleness(t *testing.T) {
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
			time.Sleep(st.maxStaleness / 1000)
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

func TestRefreshOnOneReplicaDoesNotEvictAnothersCopy(t *testing.T) {
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
			time.Sleep(a.maxStaleness / 10)
		}
		require.Zero(t, a.Stats().Misses)
		require.EqualValues(t, 1, b.Stats().Misses)
	})
}
