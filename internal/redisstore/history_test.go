package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/fence"
	"github.com/seed34611480/session/internal/redistest"
)

// TestMasterThatComesBack demotes a master, and promotes it again, between two heartbeats. The subscription goes on.
func TestMasterThatComesBack(t *testing.T) {
	t.Parallel()
	const rules = "user sessions on nopass ~* &* +@all "
	for name, test := range map[string]struct {
		permissions string
		noticed     error
	}{
		"with INFO":    {rules, errHistory},
		"without INFO": {rules + "-info", nil}, // which is documented
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.WithConfig(test.permissions))
			client := server.Client(t, func(o *redis.Options) { o.Username, o.Password = "sessions", "any" })
			l, r := subscribed(t, client)
			require.NoError(t, l.send(t.Context(), "0"))
			<-r.proofs
			require.NoError(t, l.send(t.Context(), "1"))
			<-r.proofs

			admin := server.Client(t)
			require.NoError(t, admin.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
			require.NoError(t, admin.ReplicaOf(t.Context(), "NO", "ONE").Err())
			_, err := fenceServer{l.watch}.Mark(t.Context(), "id")
			require.ErrorIs(t, err, test.noticed, "a marker")
			require.ErrorIs(t, l.send(t.Context(), "2"), test.noticed, "a heartbeat")
			if test.noticed == nil {
				<-r.proofs
			}
			require.NoError(t, client.Publish(t.Context(), l.watch.events, "after the heartbeat").Err())
			require.Equal(t, gap, <-r.events)
			require.Empty(t, r.proofs)
		})
	}
}

// subscribed returns the link of a holder whose subscription is confirmed.
func subscribed(t *testing.T, client *redis.Client) (*link, recorder) {
	t.Helper()
	r := newRecorder()
	s := newStore(client)
	w := &watch{
		store: s, heartbeat: time.Minute, sink: r, events: eventsOf(t, s), name: "NAME",
		proven: make([]time.Time, 1), holder: fence.New(time.Minute),
	}
	l := newLink(w, 0, master{client: client, control: client, number: "0"})
	w.links = []*link{l}
	w.fence = w.holder.Begin(fenceServer{w}, w.name, w.numbers())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.receive(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.Error(t, <-ended)
	})
	<-l.subscribed
	require.Equal(t, gap, <-r.events)
	return l, r
}
