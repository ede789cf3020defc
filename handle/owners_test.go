package handle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

func TestHandlesOfAnOwner(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	limit := session.WithOwnerLimit(5, session.RefuseNew)
	for name, st := range map[string]session.Storage{
		"memory": session.NewMemoryStorage(time.Hour, limit),
		"redis":  session.NewRedisStorage(client, time.Hour, limit),
	} {
		baskets, browsers := New[basket](st, "basket"), New[basket](st, "browser")
		var handles []string
		for range 5 {
			h, err := baskets.Mint(t.Context(), "alice", basket{})
			require.NoError(t, err, name)
			handles = append(handles, h)
		}
		_, err := baskets.Mint(t.Context(), "alice", basket{})
		require.ErrorIs(t, err, session.ErrTooMany, name)
		other, err := browsers.Mint(t.Context(), "alice", basket{})
		require.NoError(t, err, "%s: another kind", name)
		bobs, err := baskets.Mint(t.Context(), "bob", basket{})
		require.NoError(t, err, "%s: another owner", name)

		n, err := baskets.Revoke(t.Context(), "alice")
		require.NoError(t, err, name)
		require.Equal(t, 5, n)
		for _, h := range handles {
			_, err = baskets.Load(t.Context(), "alice", h)
			require.ErrorIs(t, err, session.ErrNotFound, name)
		}
		_, err = browsers.Load(t.Context(), "alice", other)
		require.NoError(t, err, name)
		_, err = baskets.Load(t.Context(), "bob", bobs)
		require.NoError(t, err, name)
		_, err = baskets.Mint(t.Context(), "alice", basket{})
		require.NoError(t, err, name)
	}
}
