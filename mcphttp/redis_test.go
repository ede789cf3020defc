package mcphttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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

	before, commands, began := st.Stats(), commandsOf(t, client), time.Now()
	<-time.After(ttl + ttl/8) // without renewals all of them would be gone
	after, elapsed := st.Stats(), time.Since(began)
	perSecond := float64(commandsOf(t, client)-commands) / elapsed.Seconds()
	t.Logf("%.0f commands a second with a TTL of %v, as %.1f with one of 30 minutes",
		perSecond, ttl, perSecond*ttl.Seconds()/(30*time.Minute).Seconds())
	// Each stream is renewed once every eighth to quarter of the TTL, 64 with one command if they are due together.
	require.Less(t, perSecond, 2*streams/64/(ttl.Seconds()/8))
	require.Equal(t, before.Evictions, after.Evictions, "streams evict no session")
	require.EqualValues(t, streams, open.Load())

	other := session.NewRoutingStorage(session.NewRedisStorage(server.Client(t), ttl), 10)
	defer func() { require.NoError(t, other.Close()) }()
	require.NoError(t, other.Delete(t.Context(), "stream-77"))
	began = time.Now()
	realtest.Await(t, "the end of a stream", func() bool { return open.Load() == streams-1 })
	require.Less(t, time.Since(began), ttl, "an event tells, not a renewal")
	<-time.After(ttl / 4)
	require.EqualValues(t, streams-1, open.Load(), "the others go on")

	ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
	defer cancel()
	require.NoError(t, sessions.Shutdown(ctx))
	require.Zero(t, open.Load())
}

// commandsOf returns how many commands about sessions the server has run.
func commandsOf(t *testing.T, client *redis.Client) int {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	n := 0
	calls := regexp.MustCompile(`cmdstat_(?:evalsha|eval|getex):calls=(\d+)`)
	for _, found := range calls.FindAllStringSubmatch(info, -1) {
		number, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		n += number
	}
	return n
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
