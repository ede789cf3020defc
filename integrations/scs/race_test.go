package scsstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowly runs a request of a browser, and what happens while it is answered.
func slowly(t *testing.T, path string, during func(alice *browser)) *browser {
	t.Helper()
	for _, idle := range []time.Duration{0, 20 * time.Minute} {
		entered, left := make(chan struct{}), make(chan struct{})
		app := newApp(newManager(newCounted(), idle, 12*time.Hour),
			func() { close(entered) }, func() { <-left })
		alice := logIn(t, app, "alice")
		other := &browser{app: app, cookie: alice.cookie}
		done := make(chan int)
		go func() {
			status, _ := other.get(t, path)
			done <- status
		}()
		<-entered
		during(alice)
		close(left)
		require.Equal(t, 200, <-done)
		if idle > 0 {
			return other
		}
	}
	return nil
}

// TestLogOutIsFinal has a request that was begun before the log-out, and commits after it.
func TestLogOutIsFinal(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/slow", "/slowcount"} {
		other := slowly(t, path, func(alice *browser) {
			status, _ := alice.get(t, "/logout")
			require.Equal(t, 200, status)
		})
		require.Empty(t, other.user(t), "the session is back")
	}
}

// TestRenewIsFinal is the same with the token that a login has replaced.
func TestRenewIsFinal(t *testing.T) {
	t.Parallel()
	other := slowly(t, "/slowcount", func(alice *browser) {
		status, _ := alice.get(t, "/login?user=alice")
		require.Equal(t, 200, status)
	})
	require.Empty(t, other.user(t))
}

// TestNoChangeTakesNothingBack has a request that changes nothing, while another one does.
func TestNoChangeTakesNothingBack(t *testing.T) {
	t.Parallel()
	other := slowly(t, "/slow", func(alice *browser) {
		_, seen := alice.get(t, "/count")
		require.Equal(t, "1", seen)
	})
	_, seen := other.get(t, "/count")
	require.Equal(t, "2", seen)
}

// TestLastChangeWins has two requests that change the session at a time.
func TestLastChangeWins(t *testing.T) {
	t.Parallel()
	other := slowly(t, "/slowcount", func(alice *browser) {
		alice.get(t, "/count")
		_, seen := alice.get(t, "/count")
		require.Equal(t, "2", seen)
	})
	_, seen := other.get(t, "/count")
	require.Equal(t, "2", seen, "the slow one has found 0, and stored 1")
}

// TestCommitsTwice has a request that commits a change, and takes it back.
func TestCommitsTwice(t *testing.T) {
	t.Parallel()
	alice := logIn(t, newApp(newManager(newCounted(), 20*time.Minute, 12*time.Hour), nil, nil), "alice")
	alice.get(t, "/twice")
	_, seen := alice.get(t, "/count")
	require.Equal(t, "1", seen)
}

// TestRequestsAreForgotten looks for what is kept of requests that were answered.
func TestRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	m := newManager(newCounted(), 20*time.Minute, 12*time.Hour)
	app := newApp(m, nil, nil)
	for range 10 {
		logIn(t, app, "alice").get(t, "/count")
	}
	rs := &m.Store.(*Store).requests
	require.Eventually(t, func() bool {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		return len(rs.found) == 0
	}, 5*time.Second, time.Millisecond)
}
