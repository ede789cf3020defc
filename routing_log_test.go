package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/internal/redistest"
)

// journal is the log of a RoutingStorage.
type journal struct{ logtest.Log }

func (j *journal) lines() []string { return strings.Split(strings.TrimSpace(j.String()), "\n") }

func (j *journal) logger() RoutingOption { return WithLogger(slog.New(slog.NewTextHandler(j, nil))) }

func (j *journal) has(text string) bool { return strings.Contains(j.String(), text) }

func TestWhyNoWatcherIsLogged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		remote Storage
		want   string
	}{
		"four methods": {
			fourMethods{NewMemoryStorage(time.Hour)},
			"a session.fourMethods, is no Watcher: it hides the capabilities of the *session.MemoryStorage in it",
		},
		"a pointer to such": {
			&fourMethods{NewMemoryStorage(time.Hour)},
			"a *session.fourMethods, is no Watcher: it hides the capabilities of the *session.MemoryStorage in it",
		},
		"nothing to hide": {
			fourMethods{fourMethods{NewMemoryStorage(time.Hour)}}, `a session.fourMethods, is no Watcher"`,
		},
		"empty": {fourMethods{}, `a session.fourMethods, is no Watcher"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log journal
			require.NoError(t, NewRoutingStorage(test.remote, 1, log.logger()).Close())
			require.Len(t, log.lines(), 1)
			require.True(t, log.has("level=WARN msg=\"session: there will be no change events"), log.lines())
			require.True(t, log.has(test.want), log.lines())
		})
	}
}

// unableToWatch has a Watch, which cannot work as it is set up.
type unableToWatch struct{ *MemoryStorage }

func (unableToWatch) Watch(context.Context, time.Duration, func(Event)) error {
	return fmt.Errorf("%w: %w", errs.SafeError("this server has no Pub/Sub"), errors.ErrUnsupported)
}

func TestRemoteThatCannotWatchIsLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log journal
		st := NewRoutingStorage(unableToWatch{NewMemoryStorage(time.Hour)}, 1, log.logger())
		time.Sleep(time.Hour)
		require.NoError(t, st.Close())
		require.Len(t, log.lines(), 1)
		require.True(t, log.has("there will be no change events"), log.lines())
		require.True(t, log.has("this server has no Pub/Sub"), log.lines())
	})
}

// TestRefusedRefreshesAreLogged takes the permission away that keeps sessions alive, and nothing else fails: hits go on
// under the lease, until the session is over in Redis.
func TestRefusedRefreshesAreLogged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	var log journal
	st := NewRoutingStorage(NewRedisStorage(server.Client(t), time.Minute), 10, log.logger(),
		WithRefreshAfter(10*time.Millisecond))
	defer func() { require.NoError(t, st.Close()) }()
	inUse := func(what string, done func() bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := st.Load(t.Context(), testID)
			return err == nil && done()
		}, 20*time.Second, time.Millisecond, what)
	}
	require.NoError(t, st.Store(t.Context(), New(testID)))
	inUse("a lease", func() bool { return st.Stats().Mode == ModeLeased && st.Stats().Refreshes > 0 })
	require.False(t, log.has("refreshes"), log.lines())

	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "-pexpire").Err())
	inUse("the line", func() bool { return log.has("refreshes fail, sessions in use will expire in the remote") })
	require.Equal(t, ModeLeased, st.Stats().Mode)
	require.NotZero(t, st.Stats().FailedRefreshes.Unavailable)
	require.True(t, log.has("NOPERM") || log.has("ERR"), log.lines())

	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "+pexpire").Err())
	inUse("the other line", func() bool { return log.has("refreshes work again") })
	require.Len(t, log.lines(), 3, "with the one of the events: %q", log.lines())
	require.False(t, log.has(testID))
}

// TestRefusedHeartbeatsAreLogged has a server that takes no writes for now. The subscription stands, and no call fails.
func TestRefusedHeartbeatsAreLogged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	var log journal
	st := NewRoutingStorage(NewRedisStorage(server.Client(t), time.Minute), 10, log.logger(),
		WithMaxStaleness(time.Second))
	defer func() { require.NoError(t, st.Close()) }()
	await := func(lines int, mode Mode) {
		t.Helper()
		require.Eventually(t, func() bool { return len(log.lines()) == lines && st.Stats().Mode == mode }, 20*time.Second,
			time.Millisecond, "%q", log.lines())
	}
	await(1, ModeLeased)
	gaps := st.Stats().Gaps
	require.NoError(t, admin.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	await(2, ModeBoundedAge)
	require.Contains(t, log.lines()[1], "no change events")
	require.Contains(t, log.lines()[1], "heartbeats fail: NOREPLICAS")
	require.NoError(t, admin.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())
	await(3, ModeLeased)
	require.Contains(t, log.lines()[2], "change events flow")
	require.Equal(t, gaps, st.Stats().Gaps, "none was missing")
}

// TestModeOfAnIdleReplica: a replica that gets no requests notices an outage, too, and that a permission is missing is
// none.
func TestModeOfAnIdleReplica(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	st := NewRoutingStorage(NewRedisStorage(server.Client(t), time.Minute), 10,
		WithLogger(slog.New(slog.DiscardHandler)), WithMaxStaleness(400*time.Millisecond))
	defer func() { require.NoError(t, st.Close()) }()
	await := func(mode Mode) {
		t.Helper()
		require.Eventually(t, func() bool { return st.Stats().Mode == mode }, 20*time.Second, time.Millisecond)
	}
	await(ModeLeased)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "-subscribe").Err())
	require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
	await(ModeBoundedAge)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "+subscribe").Err())
	await(ModeLeased)
	server.Stop()
	await(ModeUnavailable)
	server.Restart()
	await(ModeLeased)
}

func TestWhatCountsAsAway(t *testing.T) {
	t.Parallel()
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	reset := os.NewSyscallError("read", syscall.ECONNRESET)
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"refused":   {&net.OpError{Op: "dial", Err: refused}, true},
		"reset":     {&net.OpError{Op: "read", Err: reset}, false},
		"time-out":  {os.ErrDeadlineExceeded, true},
		"context":   {context.DeadlineExceeded, true},
		"cancelled": {context.Canceled, false},
		"an answer": {errors.New("NOPERM no permissions"), false},
	} {
		require.Equal(t, test.want, isAway(inOurTerms("watch", fmt.Errorf("watch: %w", test.err))), name)
	}
}
