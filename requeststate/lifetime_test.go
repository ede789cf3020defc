package requeststate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestLifetimeIsNotTheStorages has a storage that forgets idle sessions long before a user has answered.
func TestLifetimeIsNotTheStorages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := session.NewMemoryStorage(time.Minute)
		for name, g := range map[string]Guard{"stored": NewStored(st), "once": NewSealed(ring(t, "a"), Once(st))} {
			requestState, err := g.Seal(t.Context(), deploy(), []byte("state"))
			require.NoError(t, err, name)
			if name == "once" { // it is used at once, and again much later
				_, err = g.Open(t.Context(), deploy(), requestState)
				require.NoError(t, err)
			}
			time.Sleep(9 * time.Minute)
			opened, err := g.Open(t.Context(), deploy(), requestState)
			if name == "once" {
				requireRejected(t, err, name)
				require.Contains(t, Reason(err), "used before")
				continue
			}
			require.NoError(t, err, name)
			require.Equal(t, "state", string(opened))
		}
	})
}

// mistaken is a storage that finds nothing, or what is over, and does not say so.
type mistaken struct {
	*session.MemoryStorage
	taken *session.Session
}

func (m mistaken) Take(context.Context, string) (*session.Session, error) { return m.taken, nil }

// TestStorageIsMistaken opens nothing that was never sealed, whatever the storage returns.
func TestStorageIsMistaken(t *testing.T) {
	t.Parallel()
	g := NewStored(mistaken{memory(), nil})
	_, err := g.Open(t.Context(), deploy(), "invented")
	requireRejected(t, err, "nothing")
	_, err = NewStored(mistaken{memory(), session.New("x")}).Open(t.Context(), deploy(), "invented")
	requireRejected(t, err, "another session")
	key, err := g.key(deploy(), "late")
	require.NoError(t, err)
	over := session.New(key).WithExpiresAt(time.Now())
	_, err = NewStored(mistaken{memory(), over}).Open(t.Context(), deploy(), "late")
	requireRejected(t, err, "what has expired")
}
