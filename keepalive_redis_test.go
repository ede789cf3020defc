package session_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// TestKeepAliveOfTenThousandStreams has twice as many streams as the local tier has room.
func TestKeepAliveOfTenThousandStreams(t *testing.T) {
	t.Parallel()
	const (
		streams = 10_000
		ttl     = 12 * time.Second
	)
	server := redistest.Start(t)
	client := server.Client(t)
	st := session.NewRoutingStorage(session.NewRedisStorage(client, ttl), streams/2)
	defer func() { require.NoError(t, st.Close()) }()
	contexts := make([]context.Context, streams)
	for i := range contexts {
		s := session.New(fmt.Sprintf("stream-%d", i))
		require.NoError(t, st.Store(t.Context(), s))
		var stop context.CancelFunc
		contexts[i], stop = session.KeepAlive(t.Context(), st, s.ID()) //nolint:fatcontext // none has another for parent
		defer stop()
	}
	before := st.Stats()
	realtest.RequireCheapRenewals(t, client, streams, ttl, ttl+ttl/4)
	after := st.Stats()

	require.Equal(t, before.Evictions, after.Evictions, "streams evict no session")
	require.Equal(t, before.RemoteLoads, after.RemoteLoads)
	for _, ctx := range contexts {
		require.NoError(t, context.Cause(ctx))
	}
	left, err := client.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.EqualValues(t, streams, left)

	deleted := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), ttl), 10) // another replica
	defer func() { require.NoError(t, deleted.Close()) }()
	require.NoError(t, deleted.Delete(t.Context(), "stream-77"))
	select {
	case <-contexts[77].Done():
		require.ErrorIs(t, context.Cause(contexts[77]), session.ErrNotFound)
	case <-time.After(ttl):
		t.Fatal("the stream of a session that was deleted elsewhere goes on")
	}
}

// TestKeepAliveOnRedisAlone watches the server by itself, through a restart.
func TestKeepAliveOnRedisAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithConfig("save 60 1", "dbfilename dump.rdb"))
	st := session.NewRedisStorage(server.Client(t), time.Minute)
	keep := func(id string) (context.Context, context.CancelFunc) {
		require.NoError(t, st.Store(t.Context(), session.New(id)))
		return session.KeepAlive(t.Context(), st, id)
	}
	awaitEnd := func(ctx context.Context) {
		t.Helper()
		select {
		case <-ctx.Done():
			require.ErrorIs(t, context.Cause(ctx), session.ErrNotFound)
		case <-time.After(realtest.Patience):
			t.Fatal("the context goes on")
		}
	}
	first, stop := keep("first")
	defer stop()
	second, stop := keep("second")
	defer stop()
	kept, stop := keep("kept")
	defer stop()

	require.NoError(t, st.Delete(t.Context(), "first"))
	awaitEnd(first)
	server.Restart()
	require.NoError(t, server.Client(t).Del(t.Context(), "session: second").Err()) // of which no event tells
	awaitEnd(second)
	require.NoError(t, context.Cause(kept))
}
