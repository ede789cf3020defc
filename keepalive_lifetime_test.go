package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeepAliveForOwnLifetimes has sessions whose idle time is not the storage's.
func TestKeepAliveForOwnLifetimes(t *testing.T) {
	t.Parallel()
	for name, routing := range map[string]bool{"memory": false, "routing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				remote := newFlaky()
				var st Storage = remote.MemoryStorage
				if routing {
					rt := NewRoutingStorage(remote, 10)
					defer func() { require.NoError(t, rt.Close()) }()
					st = rt
				}
				keep := func(s *Session) (context.Context, context.CancelFunc) {
					require.NoError(t, st.Store(t.Context(), s))
					return KeepAlive(t.Context(), st, s.ID())
				}
				short, stop := keep(New("short").WithIdleTimeout(keepTTL / 20))
				defer stop()
				long, stop := keep(New("long").WithIdleTimeout(20 * keepTTL))
				defer stop()
				none, stop := keep(New("none").WithIdleTimeout(NoIdleTimeout).WithExpiresAt(time.Now().Add(50 * keepTTL)))
				defer stop()
				time.Sleep(50*keepTTL - time.Second)
				for _, ctx := range []context.Context{short, long, none} {
					requireGoesOn(t, ctx)
				}
				time.Sleep(2 * time.Second)
				requireGoesOn(t, short)
				require.ErrorIs(t, context.Cause(none), ErrNotFound)
			})
		})
	}
}
