package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/internal/redistest"
)

// replyError is an error reply of a server, or what a hook passes off as one.
type replyError string

func (r replyError) Error() string { return string(r) }
func (replyError) RedisError()     {}

// hookError is what a careless hook puts around an error: the whole command.
type hookError struct {
	text  string
	cause error
}

func (e *hookError) Error() string { return e.text }
func (e *hookError) Unwrap() error { return e.cause }

// carelessHook has every command fail, before or after it was executed, with an error that shows it.
type carelessHook struct {
	after bool
	with  func(command string, cause error) error
}

func (h carelessHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h carelessHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		cause := error(replyError("ERR bad key"))
		if h.after {
			cause = next(ctx, cmd)
		}
		return h.with(fmt.Sprintf("%s %q %q", cmd.Args(), cmd.Args(), cmd.Args()[1:]), cause)
	}
}

func (h carelessHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			cmd.SetErr(h.with(fmt.Sprint(cmd.Args()...), cmd.Err()))
		}
		return cmds[0].Err()
	}
}

// TestNoErrorShowsTheCommand looks for an id and contents in the errors and the log lines of storages whose client has
// a hook that puts them there.
func TestNoErrorShowsTheCommand(t *testing.T) {
	t.Parallel()
	servers := map[string]string{"miniredis": miniredis.RunT(t).Addr(), "redis": redistest.Start(t).Addr()}
	errorsOf := map[string]func(command string, cause error) error{
		"text":           func(command string, cause error) error { return &hookError{command, cause} },
		"a reply":        func(command string, _ error) error { return &hookError{"x", replyError(command)} },
		"a reply's text": func(command string, _ error) error { return &hookError{"x", replyError("ERR " + command)} },
		"a failed dialer": func(command string, _ error) error {
			return &hookError{"x", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(command)}}
		},
		"our sentinel":    func(command string, _ error) error { return &hookError{command, ErrNotFound} },
		"the code failed": func(command string, _ error) error { return &hookError{command, syscall.EOPNOTSUPP} },
	}
	for server, addr := range servers {
		for kind, with := range errorsOf {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprint(server, ", ", kind, ", after ", after), func(t *testing.T) {
					t.Parallel()
					client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
					client.AddHook(carelessHook{after, with})
					log := new(logtest.Log)
					remote := NewRedisStorage(client, time.Minute, WithKeyPrefix(kind+":"))
					st := NewRoutingStorage(remote, 10, WithLogger(slog.New(slog.NewJSONHandler(log, nil))),
						WithMaxStaleness(100*time.Millisecond))
					defer func() { require.NoError(t, st.Close()) }()
					checkDiscreet(t, st, remote, log, client.Close)
				})
			}
		}
	}
}

func checkDiscreet(
	t *testing.T, st *RoutingStorage, remote *RedisStorage, log *logtest.Log, closeClient func() error,
) {
	t.Helper()
	const id, principal, key, value, data = "id<&>5c1e7d", "issuer|alice", "a-metadata-key", "a-metadata-value", "app-data"
	s := New(id).WithPrincipal(principal).With(key, value).WithData([]byte(data))
	discreet := func(what, text string) {
		t.Helper()
		for _, secret := range []string{
			id, "5c1e7d", principal, "alice", key, value, data, base64.StdEncoding.EncodeToString([]byte(data)),
		} {
			require.NotContains(t, text, secret, what)
		}
	}
	for op, call := range map[string]func() error{
		"store":  func() error { return st.Store(t.Context(), s.clone()) },
		"create": func() error { return st.Create(t.Context(), s.clone()) },
		"load":   func() error { _, err := st.Load(t.Context(), id); return err },
		"take":   func() error { _, err := st.Take(t.Context(), id); return err },
		"delete": func() error { return st.Delete(t.Context(), id) },
		"update": func() error { _, err := Update(t.Context(), st, id, increment); return err },
		"revalidate": func() error {
			_, err := remote.Revalidate(t.Context(), []Use{{ID: id, Revision: 7, At: time.Now()}})
			return err
		},
		"remote": func() error { return remote.Store(t.Context(), s.clone()) },
	} {
		err := call()
		require.ErrorIs(t, err, ErrUnavailable, op)
		for _, sentinel := range []error{ErrNotFound, errors.ErrUnsupported} {
			require.NotErrorIs(t, err, sentinel, op)
		}
		var cause *hookError
		require.ErrorAs(t, err, &cause, op)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			discreet(op, fmt.Sprintf(verb, err))
		}
		slog.New(slog.NewTextHandler(log, nil)).Error("failed", "error", err)
	}
	logged := func() bool { return strings.Contains(log.String(), "no change events") }
	// Some hooks let no connection come up; with the others the watch ends when the client is closed.
	leased := func() bool { return st.Stats().Mode == ModeLeased }
	require.Eventually(t, func() bool { return logged() || leased() }, 10*time.Second, time.Millisecond)
	require.NoError(t, closeClient())
	require.Eventually(t, logged, 10*time.Second, time.Millisecond)
	discreet("log", log.String())
}

// TestIDThatIsAWord: no text depends on the id, also if it is a word that may be shown.
func TestIDThatIsAWord(t *testing.T) {
	t.Parallel()
	text := func(id string) string {
		st := loadFails{replyError("ERR unknown command 'x', with args beginning with: '" + id + "'")}
		rt := NewRoutingStorage(st, 10)
		defer func() { require.NoError(t, rt.Close()) }()
		_, err := rt.Load(t.Context(), id)
		return err.Error()
	}
	want := text("5c1e7d")
	for _, id := range []string{"getex", "ERR", "OOM", "e", "session:", "EOF", "not", "unknown", "command"} {
		require.Equal(t, want, text(id))
	}
}

// loadFails is a storage whose loads fail with one error.
type loadFails struct{ err error }

func (s loadFails) Load(context.Context, string) (*Session, error) { return nil, s.err }
func (s loadFails) Store(context.Context, *Session) error          { return s.err }
func (s loadFails) Delete(context.Context, string) error           { return s.err }
func (s loadFails) DeleteExpired(context.Context, time.Time) error { return s.err }

// TestTextAroundASentinelIsHidden: another storage's wrapping is foreign text, too.
func TestTextAroundASentinelIsHidden(t *testing.T) {
	t.Parallel()
	for _, sentinel := range append(sentinels, errors.ErrUnsupported) {
		for _, err := range []error{
			sentinel, opErrBecause("load", sentinel, errs.Reason("why")), fmt.Errorf("row %s: %w", secretID, sentinel),
			fmt.Errorf("row %s: %w", secretID, opErrBecause("load", sentinel, errs.Reason("why"))),
		} {
			rt := NewRoutingStorage(loadFails{err}, 10)
			for _, call := range []func() error{
				func() error { _, err := rt.Load(t.Context(), secretID); return err },
				func() error { return rt.Store(t.Context(), New(secretID)) },
				func() error { return rt.Delete(t.Context(), secretID) },
				func() error { return rt.DeleteExpired(t.Context(), time.Now()) },
			} {
				got := call()
				require.ErrorIs(t, got, sentinel)
				require.ErrorIs(t, got, err, "the cause is reachable")
				require.NotContains(t, got.Error(), secretID)
			}
			require.NoError(t, rt.Close())
		}
	}
}
