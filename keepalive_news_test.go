package session

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// callCount is a hook that counts calls of the remote by name and outcome.
type callCount struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *callCount) hook(ctx context.Context, op string) (context.Context, func(error)) {
	return ctx, func(err error) {
		if err != nil {
			op += ": " + err.Error()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.calls == nil {
			c.calls = make(map[string]int)
		}
		c.calls[op]++
	}
}

// since returns the calls since the last time.
func (c *callCount) since() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

// TestKeepAliveFailsVisibly has an outage that nothing else would tell of: there are only streams, and events flow.
func TestKeepAliveFailsVisibly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		var calls callCount
		remote := &together{flaky: newFlaky()}
		st := NewRoutingStorage(remote, 10, log.logger(), WithRemoteHook(calls.hook))
		require.NoError(t, st.Store(t.Context(), New(testID)))
		ctx, stop := KeepAlive(t.Context(), st, testID)
		calls.since()
		time.Sleep(keepTTL)
		kept := int(st.Stats().Kept)
		require.Positive(t, kept)
		require.Equal(t, map[string]int{"revalidate": kept}, calls.since())
		lines := len(log.lines())

		remote.down.Store(true)
		time.Sleep(keepTTL / 2)
		failed := st.Stats().FailedRefreshes
		const down = ": storage unavailable: (details hidden: *errors.errorString)"
		seen := calls.since()
		require.EqualValues(t, failed.Unavailable,
			seen["revalidate: session: revalidate"+down]+seen["load: session: load"+down])
		require.Equal(t, Failures{Unavailable: failed.Unavailable}, failed)
		require.Greater(t, failed.Unavailable, uint64(100))
		require.Equal(t, ModeLeased, st.Stats().Mode)
		require.Len(t, log.lines(), lines+1)
		require.True(t, log.has("refreshes fail, sessions in use will expire in the remote"), log.lines())

		remote.down.Store(false)
		time.Sleep(keepMaxRetry + 2*time.Second)
		require.Len(t, log.lines(), lines+2)
		require.True(t, log.has("refreshes work again"), log.lines())
		requireGoesOn(t, ctx)

		remote.down.Store(true)
		time.Sleep(keepTTL / 2)
		stop()
		remote.down.Store(false)
		time.Sleep(keepTTL)
		require.Len(t, log.lines(), lines+3, "that the last caller has left is no proof")
		require.NoError(t, st.Store(t.Context(), New(testID)))
		_, stop = KeepAlive(t.Context(), st, testID)
		defer stop()
		time.Sleep(keepTTL)
		require.Len(t, log.lines(), lines+4)
		require.False(t, log.has(testID))
		require.NoError(t, st.Close())
	})
}

// panicsWithID is a remote whose Revalidate panics with an id.
type panicsWithID struct{ *flaky }

func (panicsWithID) Revalidate(_ context.Context, uses []Use) ([]bool, error) { panic(uses[0].ID) }

// TestPanicsAreLogged: the first one with its stack, which says where the mistake is.
func TestPanicsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		var calls callCount
		st := NewRoutingStorage(panicsWithID{newFlaky()}, 10, log.logger(), WithRemoteHook(calls.hook))
		require.NoError(t, st.Store(t.Context(), New(testID)))
		lines := len(log.lines())
		ctx, stop := KeepAlive(t.Context(), st, testID)
		defer stop()
		time.Sleep(50 * keepTTL)
		requireGoesOn(t, ctx)
		panics := st.Stats().Panics
		require.Greater(t, panics, uint64(100))
		require.Equal(t, Failures{Unavailable: panics}, st.Stats().FailedRefreshes)
		require.Equal(t, panics, st.Stats().Kept, "by a load of each")
		const seen = "revalidate: session: storage unavailable: a call of the remote panicked"
		require.EqualValues(t, panics, calls.since()[seen])
		require.LessOrEqual(t, len(log.lines())-lines, int(panics))
		require.True(t, log.has("a call of the remote panicked"), log.lines())
		require.True(t, log.has("panicsWithID.Revalidate"), log.lines())
		require.False(t, log.has(testID))
		require.NoError(t, st.Close())
	})
}
