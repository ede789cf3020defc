package mcphttp

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// go-sdk answers a DELETE when the session's calls have come to their end.
func TestServerThatDoesNotEndASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, callsEnd := newServer(), make(chan struct{})
		inner.call = streamFor(time.Hour)
		sessions := NewSessions(session.NewMemoryStorage(time.Hour),
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodDelete {
					<-callsEnd
				}
				inner.ServeHTTP(w, r)
			}))
		answerOf(sessions, requestWith("POST", nil, "{}"))
		stream := serveOpen(sessions, "GET", ofMinted)
		require.True(t, stream.isOpen())
		ending := serveOpen(sessions, "DELETE", ofMinted)
		require.False(t, stream.isOpen())
		require.True(t, ending.isOpen())
		time.Sleep(endingTime)
		require.False(t, ending.isOpen())
		require.Equal(t, http.StatusNoContent, ending.answer.Code)
		require.NoError(t, sessions.Shutdown(t.Context()))

		close(callsEnd)
		synctest.Wait()
		require.Equal(t, []string{"minted"}, inner.endedSessions())
	})
}

// No net/http is there that would recover it.
func TestServerThatPanicsAtTheEnd(t *testing.T) {
	inner := newServer()
	sessions := NewSessions(newBroken(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			panic("mistake")
		}
		inner.ServeHTTP(w, r)
	}))
	answerOf(sessions, requestWith("POST", nil, "{}"))
	require.Equal(t, http.StatusNoContent, answerOf(sessions, requestWith("DELETE", ofMinted, "")).Code)
}
