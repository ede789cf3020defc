package mcphttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// TestTenThousandStreams has twice as many streams as the local tier has room for sessions. They live for longer than
// their idle time, at the cost of a few commands, and one ends that another replica deletes.
func TestTenThousandStreams(t *testing.T) {
	t.Parallel()
	const (
		streams = 10_000
		ttl     = 15 * time.Second // while they begin, renewals wait for a processor
	)
	server := redistest.Start(t)
	client := server.Client(t)
	st := session.NewRoutingStorage(session.NewRedisStorage(client, ttl), streams/2)
	defer func() { require.NoError(t, st.Close()) }()
	var begun, open atomic.Int64
	sessions := NewSessions(st, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set(sessionHeader, fmt.Sprintf("stream-%d", begun.Add(1)-1))
		case http.MethodGet:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: begin\n\n")
			open.Add(1)
			<-r.Context().Done()
			open.Add(-1)
		}
	}))
	const clients = 4
	for range clients {
		go func() {
			for range streams / clients {
				began := answerOf(sessions, requestWith("POST", nil, "{}"))
				if began.Code != http.StatusOK {
					t.Error(began)
				}
				go func() {
					stream := requestWith("GET", http.Header{sessionHeader: began.Header()[sessionHeader]}, "")
					if status := answerOf(sessions, stream).Code; status != http.StatusOK {
						t.Error(status)
					}
				}()
			}
		}()
	}
	for opened := open.Load(); opened < streams; opened = open.Load() {
		realtest.Await(t, "one stream more", func() bool { return open.Load() > opened })
	}

	before := st.Stats()
	realtest.RequireCheapRenewals(t, client, streams, ttl, ttl+ttl/8)
	after := st.Stats()
	require.Equal(t, before.Evictions, after.Evictions, "streams evict no session")
	require.EqualValues(t, streams, open.Load())

	other := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), ttl), 10)
	defer func() { require.NoError(t, other.Close()) }()
	require.NoError(t, other.Delete(t.Context(), "stream-77"))
	deleted := time.Now()
	realtest.Await(t, "the end of a stream", func() bool { return open.Load() == streams-1 })
	require.Less(t, time.Since(deleted), ttl, "an event tells, not a renewal")
	<-time.After(ttl / 4)
	require.EqualValues(t, streams-1, open.Load(), "the others go on")

	ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
	defer cancel()
	require.NoError(t, sessions.Shutdown(ctx))
	require.Zero(t, open.Load())
}

// A server that is away is no end of a session.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithConfig("save 60 1", "dbfilename dump.rdb"))
	st := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), time.Minute), 10,
		session.WithMaxStaleness(time.Second))
	defer func() { require.NoError(t, st.Close()) }()
	inner := newServer()
	c := newClient(t, NewSessions(st, inner))
	c.requireStatus(200, "POST", "", "")
	server.Stop()
	realtest.Await(t, "the last local answer", func() bool {
		answer := c.do("POST", "minted", "")
		require.Contains(t, []int{200, 503}, answer.status)
		return answer.status == http.StatusServiceUnavailable
	})
	inner.nextID = "second"
	header := c.requireStatus(503, "POST", "", "")
	require.Empty(t, header.Get(sessionHeader))
	c.requireStatus(503, "DELETE", "minted", "")
	server.Restart()
	realtest.Await(t, "Redis", func() bool {
		answer := c.do("POST", "minted", "")
		require.Contains(t, []int{200, 503}, answer.status)
		return answer.status == http.StatusOK
	})
	require.Equal(t, []string{"second"}, inner.endedSessions())
	c.requireStatus(204, "DELETE", "minted", "")
}
