package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest/embedded"
)

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
