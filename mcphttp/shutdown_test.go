package mcphttp

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestShutdown(t *testing.T) {
	const grace = 10 * time.Second
	listen := http.Header{versionHeader: {"2026-07-28"}, methodHeader: {listenMethod}}
	for name, c := range map[string]struct {
		call   http.HandlerFunc
		method string
		header http.Header
		ends   time.Duration // after Shutdown was called
		status int
		body   string
	}{
		"stream":        {streamFor(time.Hour), "GET", ofMinted, 0, 200, cutStream},
		"silent stream": {openFor(time.Hour), "GET", ofMinted, 0, 503, ""},
		"listen":        {nil, "POST", listen, 0, 200, cutStream},
		"call":          {openFor(time.Minute), "POST", ofMinted, 3 * time.Second, 200, "done"},
		"long call":     {openFor(time.Hour), "POST", ofMinted, grace, 503, ""},
		"call's stream": {streamFor(time.Minute), "POST", ofMinted, 3 * time.Second, 200, streamOfTest},
		"long stream":   {streamFor(time.Hour), "POST", ofMinted, grace, 200, cutStream},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions, inner := newSessions(t, session.NewMemoryStorage(time.Hour), c.call, WithGrace(grace))
				handler := http.Handler(sessions)
				if c.call == nil {
					sessions = NewSessions(sessions.storage, Era(streamFor(time.Hour), inner))
					handler = sessions
				}
				answer := serveOpen(handler, c.method, c.header)
				time.Sleep(time.Minute - 3*time.Second)
				require.True(t, answer.isOpen())

				began := time.Now()
				require.NoError(t, sessions.Shutdown(t.Context()))
				require.Equal(t, c.ends, time.Since(began))
				require.False(t, answer.isOpen())
				require.Equal(t, c.status, answer.answer.Code)
				require.Equal(t, c.status == 503, answer.answer.Header().Get("Retry-After") != "")
				if c.body != "" {
					require.Equal(t, c.body, answer.answer.Body.String())
				}
				require.Empty(t, inner.endedSessions(), "sessions survive a restart")
				for _, method := range []string{"GET", "POST", "DELETE"} {
					require.Equal(t, 503, answerOf(handler, requestWith(method, ofMinted, "")).Code)
				}
				require.NoError(t, sessions.Shutdown(t.Context()))
			})
		})
	}
}

// A handler that does not heed its context keeps Shutdown no longer than the caller waits.
func TestShutdownOfADeafHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := make(chan struct{})
		sessions, _ := newSessions(t, newBroken(), func(http.ResponseWriter, *http.Request) { <-deaf })
		call := serveOpen(sessions, "POST", ofMinted)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, sessions.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		close(deaf)
		<-call.ended
		require.NoError(t, sessions.Shutdown(t.Context()))
	})
}

// The error of its context is for what has not ended.
func TestShutdownWithoutTime(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		sessions := NewSessions(newBroken(), newServer())
		require.NoError(t, sessions.Shutdown(ended))
	}
}

// The end of its context cuts calls before the grace is over.
func TestShutdownThatCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions, _ := newSessions(t, newBroken(), openFor(time.Hour), WithGrace(time.Minute))
		call := serveOpen(sessions, "POST", ofMinted)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, sessions.Shutdown(ctx), context.DeadlineExceeded)
		require.False(t, call.isOpen())
		require.Equal(t, 503, call.answer.Code)
	})
}
