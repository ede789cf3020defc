package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/redistest"
)

// failingCodec fails to encode or to decode, with an error that shows the session.
type failingCodec struct{}

func (failingCodec) Encode(s *Session) ([]byte, error) {
	return nil, errors.New("cannot encode " + s.ID())
}

func (failingCodec) Decode(data []byte) (*Session, error) {
	return nil, fmt.Errorf("cannot decode %s", data)
}

func TestErrorsSayWhy(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer func() { require.NoError(t, client.Close()) }()
	st := NewRedisStorage(client, time.Minute, WithMaxSize(200))
	memory := NewMemoryStorage(time.Minute, WithMaxSize(200))
	routing := NewRoutingStorage(fourMethods{memory}, 10)
	defer func() { require.NoError(t, routing.Close()) }()
	failing := NewRedisStorage(client, time.Minute, WithCodec(failingCodec{}))
	ctx := t.Context()
	load := func(value string) error {
		require.NoError(t, m.Set("session: "+secretID, value))
		defer m.Del("session: " + secretID)
		_, err := st.Load(ctx, secretID)
		return err
	}
	ofLoad := func(st Storage, id string) error { _, err := st.Load(ctx, id); return err }
	big := FromRecord(Record{ID: secretID, Data: make([]byte, 1000)})
	good, err := JSONCodec{}.Encode(New("another"))
	require.NoError(t, err)

	for name, test := range map[string]struct {
		err  error
		kind error
		want string
	}{
		"too large in Redis": {st.Store(ctx, big), ErrTooLarge, "session: store: too large: 1447 bytes, the limit is 200"},
		"too large in memory": {
			memory.Create(ctx, big), ErrTooLarge, "session: create: too large: 1020 bytes, the limit is 200",
		},

		"empty id": {ofLoad(memory, ""), ErrInvalidID, "session: load: invalid id: it is empty"},
		"overlong id": {
			memory.Delete(ctx, strings.Repeat("x", 5000)), ErrInvalidID,
			"session: delete: invalid id: 5000 bytes, the limit is 4096",
		},
		"id with a space": {
			ofLoad(routing, "a bc"), ErrInvalidID, "session: load: invalid id: byte 2 of 4 is not visible ASCII",
		},
		"validated id": {ValidateID("abc\x7f"), ErrInvalidID, "session: invalid id: byte 4 of 4 is not visible ASCII"},
		"nil session":  {routing.Store(ctx, nil), ErrInvalidID, "session: store: invalid id: the session is nil"},

		"empty value": {load(""), ErrCorrupt, "session: load: corrupt value: the value is too short"},
		"short value": {load("2000"), ErrCorrupt, "session: load: corrupt value: the value is too short"},
		"later version": {
			load("3" + strings.Repeat("0", 104)), ErrCorrupt,
			"session: load: corrupt value: the value has an unknown format version",
		},
		"another's value": {
			load(header(7) + string(good)), ErrCorrupt, "session: load: corrupt value: the value is another session's",
		},
		"no JSON": {
			load(header(7) + "secret"), ErrCorrupt, "session: load: corrupt value: the codec cannot decode the value",
		},
		"store over text": {
			func() error {
				require.NoError(t, m.Set("session: text", "hello"))
				return st.Store(ctx, New("text"))
			}(), ErrCorrupt, "session: store: corrupt value: the stored value has no valid header",
		},
		"codec that fails": {
			failing.Store(ctx, New(secretID)), ErrEncode,
			"session: store: cannot be encoded: (details hidden: *errors.errorString)",
		},

		"no Creator": {
			routing.Create(ctx, New("id")), errors.ErrUnsupported,
			"session: create: unsupported operation: the remote, a session.fourMethods, is not a Creator",
		},
		"no Taker": {
			func() error { _, err := routing.Take(ctx, "id"); return err }(), errors.ErrUnsupported,
			"session: take: unsupported operation: the remote, a session.fourMethods, is not a Taker",
		},
	} {
		require.ErrorIs(t, test.err, test.kind, name)
		require.Equal(t, test.want, test.err.Error(), name)
		for _, other := range append(sentinels, errors.ErrUnsupported) {
			require.Equal(t, errors.Is(test.kind, other), errors.Is(test.err, other), "%s: one sentinel only", name)
		}
	}
}

func TestCodecThatFailsIsNoOutage(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { require.NoError(t, client.Close()) }()
	st := NewRoutingStorage(NewRedisStorage(client, time.Minute, WithCodec(failingCodec{})), 10)
	defer func() { require.NoError(t, st.Close()) }()
	err := st.Store(t.Context(), New(secretID))
	require.ErrorIs(t, err, ErrEncode)
	require.NotErrorIs(t, err, ErrUnavailable)
	require.NotContains(t, err.Error(), secretID)
	require.NotContains(t, fmt.Sprintf("%#v", opErrBecause("load", ErrUnavailable, replyError(secretID))), secretID)
}

// TestDialerThatSaysUnsupported: what a system call says of a connection is not what a storage says of itself.
func TestDialerThatSaysUnsupported(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var broken atomic.Bool
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr(), MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if broken.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("socket", syscall.EOPNOTSUPP)}
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	defer func() { require.NoError(t, client.Close()) }()
	remote := NewRedisStorage(client, time.Minute)
	broken.Store(true)
	st := NewRoutingStorage(remote, 10, WithMaxStaleness(time.Second))
	defer func() { require.NoError(t, st.Close()) }()
	_, err := st.Load(t.Context(), testID)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, syscall.EOPNOTSUPP, "the cause is reachable")
	require.NotErrorIs(t, err, errors.ErrUnsupported)
	require.NotErrorIs(t, remote.Watch(t.Context(), time.Second, func(Event) {}), errors.ErrUnsupported)
	_, err = remote.Revalidate(t.Context(), []Use{{ID: testID, Revision: 7, At: time.Now()}})
	require.NotErrorIs(t, err, errors.ErrUnsupported)
	broken.Store(false)
	require.Eventually(t, func() bool { return st.Stats().Mode == ModeLeased }, 10*time.Second, time.Millisecond)
}

// rawRemote is another author's storage, which returns its client's errors as they are.
type rawRemote struct {
	*MemoryStorage

	err     atomic.Pointer[error]
	watches atomic.Int32
}

func (r *rawRemote) failure() error {
	if err := r.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *rawRemote) Load(ctx context.Context, id string) (*Session, error) {
	if err := r.failure(); err != nil {
		return nil, err
	}
	return r.MemoryStorage.Load(ctx, id)
}

func (r *rawRemote) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	r.watches.Add(1)
	if err := r.failure(); err != nil {
		return err
	}
	return r.MemoryStorage.Watch(ctx, heartbeat, fn)
}

func TestForeignErrorThatMatchesUnsupported(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"ENOSYS":            syscall.ENOSYS,
		"a dialer":          &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EOPNOTSUPP)},
		"an outage says it": fmt.Errorf("%w: %w", ErrUnavailable, errors.ErrUnsupported),
	} {
		synctest.Test(t, func(t *testing.T) {
			remote := &rawRemote{MemoryStorage: NewMemoryStorage(time.Hour)}
			remote.err.Store(&err)
			st := NewRoutingStorage(remote, 10, WithStaleIfError(time.Hour))
			defer func() { require.NoError(t, st.Close()) }()
			require.NoError(t, st.Store(t.Context(), New(testID)))
			time.Sleep(time.Minute) // the copy is too old to be served as fresh
			_, loadErr := st.Load(t.Context(), testID)
			require.NoError(t, loadErr, "%s is an outage: the last known state is served", name)
			_, loadErr = st.Load(t.Context(), "another")
			require.ErrorIs(t, loadErr, ErrUnavailable, name)
			require.NotErrorIs(t, loadErr, errors.ErrUnsupported, name)

			remote.err.Store(nil)
			time.Sleep(5 * time.Second)
			_, loadErr = st.Load(t.Context(), "another")
			require.ErrorIs(t, loadErr, ErrNotFound, name)
			require.Equal(t, ModeLeased, st.Stats().Mode, "%s: the watch begins again", name)
		})
	}
}

func TestStorageThatSaysUnsupportedIsBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &rawRemote{MemoryStorage: NewMemoryStorage(time.Hour)}
		unsupported := fmt.Errorf("a row of %s: %w", secretID, errors.ErrUnsupported)
		remote.err.Store(&unsupported)
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, remote.watches.Load(), "it is not asked again")
		_, err := st.Load(t.Context(), testID)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NotErrorIs(t, err, ErrUnavailable)
	})
}

// noRevalidation is a storage whose Revalidate fails.
type noRevalidation struct {
	*MemoryStorage

	err   error
	asked atomic.Int32
}

func (r *noRevalidation) Revalidate(context.Context, []Use) ([]bool, error) {
	r.asked.Add(1)
	return nil, r.err
}

func TestRevalidationIsGivenUpIfUnsupported(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		again bool
	}{{syscall.ENOSYS, true}, {errors.ErrUnsupported, false}} {
		synctest.Test(t, func(t *testing.T) {
			remote := &noRevalidation{MemoryStorage: NewMemoryStorage(time.Hour), err: test.err}
			st := NewRoutingStorage(remote, 10, WithRefreshAfter(time.Minute))
			defer func() { require.NoError(t, st.Close()) }()
			require.NoError(t, st.Store(t.Context(), New("a")))
			require.NoError(t, st.Store(t.Context(), New("b")))
			for range 10 {
				time.Sleep(61 * time.Second)
				for _, id := range []string{"a", "b"} { // due together
					_, err := st.Load(t.Context(), id)
					require.NoError(t, err)
				}
				time.Sleep(2 * time.Second) // until the refresh has ended
			}
			require.Positive(t, remote.asked.Load())
			require.Equal(t, test.again, remote.asked.Load() > 1, "%v: %d times", test.err, remote.asked.Load())
		})
	}
}

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
					log := new(lockedBuffer)
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
	t *testing.T, st *RoutingStorage, remote *RedisStorage, log *lockedBuffer, closeClient func() error,
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

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
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
