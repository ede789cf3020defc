package scsstore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/require"
)

// TestIdleTimeoutWritesNothing has a session whose requests change nothing. scs commits each of them.
func TestIdleTimeoutWritesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newCounted()
		alice := logIn(t, newApp(newManager(st, 20*time.Minute, 12*time.Hour), nil, nil), "alice")
		written := st.writes.Load()
		begun := time.Now()
		for range 1000 {
			time.Sleep(40 * time.Second)
			require.Equal(t, "alice", alice.user(t))
		}
		require.Equal(t, written, st.writes.Load())
		require.Greater(t, time.Since(begun), 11*time.Hour, "its first end was after 20 minutes")
	})
}

// TestWhenSessionsEnd says for each way of use when a session ends, to the second.
func TestWhenSessionsEnd(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		idle, lifetime time.Duration
		path           string
		every          time.Duration
		last           time.Duration // the last request that may find the session
		end            time.Duration
	}{
		"not used":                 {20 * time.Minute, 12 * time.Hour, "/", time.Minute, 0, 20 * time.Minute},
		"used for an hour":         {20 * time.Minute, 12 * time.Hour, "/", time.Minute, time.Hour, 80 * time.Minute},
		"used all the time":        {20 * time.Minute, 12 * time.Hour, "/", time.Minute, 24 * time.Hour, 12 * time.Hour},
		"changed all the time":     {20 * time.Minute, 12 * time.Hour, "/count", time.Minute, 24 * time.Hour, 12 * time.Hour},
		"no idle time-out":         {0, 12 * time.Hour, "/", time.Hour, time.Hour, 12 * time.Hour},
		"no idle time-out, used":   {0, 12 * time.Hour, "/count", time.Hour, 24 * time.Hour, 12 * time.Hour},
		"idle time-out is longer":  {24 * time.Hour, 12 * time.Hour, "/", time.Hour, 24 * time.Hour, 12 * time.Hour},
		"longer than the TTL":      {5 * time.Hour, 12 * time.Hour, "/", time.Hour, 2 * time.Hour, 7 * time.Hour},
		"deadline was put off":     {20 * time.Minute, time.Hour, "/extend", time.Minute, 2 * time.Hour, 140 * time.Minute},
		"idle time-out, near end":  {20 * time.Minute, time.Hour, "/", time.Minute, 50 * time.Minute, time.Hour},
		"a request without change": {20 * time.Minute, time.Hour, "/", 19 * time.Minute, 19 * time.Minute, 39 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newCounted()
				begun := time.Now()
				alice := logIn(t, newApp(newManager(st, row.idle, row.lifetime), nil, nil), "alice")
				id := idOf(alice.cookie.Value)
				var end time.Duration
				for end = time.Second; ; end += time.Second {
					time.Sleep(time.Until(begun.Add(end)))
					if _, err := st.Peek(t.Context(), id); err != nil {
						break
					}
					if end <= row.last && end%row.every == 0 {
						alice.get(t, row.path)
					}
				}
				require.InDelta(t, row.end.Seconds(), end.Seconds(), 1)
			})
		})
	}
}

// TestConfigurationChanges has a release with a shorter idle time-out meet sessions of the one before.
func TestConfigurationChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newCounted()
		alice := logIn(t, newApp(newManager(st, time.Hour, 12*time.Hour), nil, nil), "alice")
		alice.app = newApp(newManager(st, 10*time.Minute, 12*time.Hour), nil, nil)
		before := st.writes.Load()
		for range 3 {
			time.Sleep(5 * time.Minute)
			require.Equal(t, "alice", alice.user(t))
		}
		require.Equal(t, before+1, st.writes.Load(), "the new time-out was written once")
		time.Sleep(11 * time.Minute)
		require.Empty(t, alice.user(t))
	})
}

// slowCodec takes a minute to decode.
type slowCodec struct{ scs.GobCodec }

func (slowCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	time.Sleep(time.Minute)
	return scs.GobCodec{}.Decode(b)
}

// A process may stand still between two looks at the clock.
func TestIdleTimeOverWhileCommitting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newCounted()
		b, err := scs.GobCodec{}.Encode(time.Now().Add(time.Hour), map[string]any{"user": "alice"})
		require.NoError(t, err)
		s := New(st, WithCodec(slowCodec{}))
		require.NoError(t, s.Commit("token", b, time.Now().Add(30*time.Second)))
		time.Sleep(time.Second)
		_, found, err := s.Find("token")
		require.NoError(t, err)
		require.False(t, found, "it must not live until its deadline")
	})
}
