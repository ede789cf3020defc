package session

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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
	"github.com/seed34611480/session/internal/logtest"
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
		"no Replacer": {
			routing.Replace(ctx, New("id")), errors.ErrUnsupported,
			"session: replace: unsupported operation: the remote, a session.fourMethods, is not a Replacer",
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

// secretID must not appear in any error text.
const secretID = "secret-id-0123456789"

// header is what a stored value begins with.
func header(revision uint64) string { return fmt.Sprintf("2%016x%0104x", revision, 0) }

// TestBadInput lists everything that callers, Redis and the network can do wrong, with the documented sentinel that
// callers get for it. Nothing is cached, nothing is lost, and no text contains the id. RoutingStorage is on top, as for
// users.
func TestBadInput(t *testing.T) {
	t.Parallel()
	store := func(s *Session) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error { return st.Store(ctx, s) }
	}
	load := func(id string) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error {
			_, err := st.Load(ctx, id)
			return err
		}
	}
	remove := func(id string) func(context.Context, Storage) error {
		return func(ctx context.Context, st Storage) error { return st.Delete(ctx, id) }
	}
	update := func(ctx context.Context, st Storage) error {
		_, err := Update(ctx, st, secretID, increment)
		return err
	}
	value := func(id string) string { return header(7) + `{"id":"` + id + `","metadata":{}}` }
	big := New(secretID).With("k", strings.Repeat("x", 4096))

	tests := map[string]struct {
		redis   func(t *testing.T, m *miniredis.Miniredis) // prepares the server
		planted string                                     // the value under secretID, which must not change
		call    func(context.Context, Storage) error
		want    error
	}{
		"nil session":           {call: store(nil), want: ErrInvalidID},
		"zero session":          {call: store(new(Session)), want: ErrInvalidID},
		"empty id":              {call: load(""), want: ErrInvalidID},
		"overlong id":           {call: load(strings.Repeat("x", 4097)), want: ErrInvalidID},
		"id with a space":       {call: load("a b"), want: ErrInvalidID},
		"id with a newline":     {call: load("a\r\nb"), want: ErrInvalidID},
		"id that is not ASCII":  {call: load("sé"), want: ErrInvalidID},
		"delete of an empty id": {call: remove(""), want: ErrInvalidID},
		"take of an empty id": {call: func(ctx context.Context, st Storage) error {
			_, err := st.(Taker).Take(ctx, "")
			return err
		}, want: ErrInvalidID},
		"create of a nil session": {call: func(ctx context.Context, st Storage) error {
			return st.(Creator).Create(ctx, nil)
		}, want: ErrInvalidID},
		"replace by a nil session": {call: func(ctx context.Context, st Storage) error {
			return st.(Replacer).Replace(ctx, nil)
		}, want: ErrInvalidID},
		"replaced after it was deleted": {call: func(ctx context.Context, st Storage) error {
			return st.(Replacer).Replace(ctx, stamped(New(secretID), 5))
		}, want: ErrNotFound},
		"oversize session":       {call: store(big), want: ErrTooLarge},
		"session that is over":   {call: store(New(secretID).WithExpiresAt(time.Now().Add(-1))), want: ErrLifetime},
		"session without an end": {call: store(New(secretID).WithIdleTimeout(NoIdleTimeout)), want: ErrLifetime},
		"stored, and over now": {
			call: store(stamped(New(secretID).WithExpiresAt(time.Now().Add(-1)), 5)), want: ErrNotFound,
		},
		"unknown session":       {call: load(secretID), want: ErrNotFound},
		"deleted session":       {call: store(stamped(New(secretID), 5)), want: ErrNotFound},
		"changed session":       {planted: value(secretID), call: store(stamped(New(secretID), 5)), want: ErrConflict},
		"existing session":      {planted: value(secretID), call: create(New(secretID)), want: ErrExists},
		"text":                  {planted: "hello", call: load(secretID), want: ErrCorrupt},
		"half a header":         {planted: header(7)[:9], call: load(secretID), want: ErrCorrupt},
		"no session":            {planted: header(7), call: load(secretID), want: ErrCorrupt},
		"another format":        {planted: "1" + value(secretID)[1:], call: load(secretID), want: ErrCorrupt},
		"revision out of range": {planted: "2f" + value(secretID)[2:], call: load(secretID), want: ErrCorrupt},
		"truncated session":     {planted: value(secretID)[:130], call: load(secretID), want: ErrCorrupt},
		"wrong types":           {planted: header(7) + `{"id":["` + secretID + `"]}`, call: load(secretID), want: ErrCorrupt},
		"value of another id":   {planted: value("another"), call: load(secretID), want: ErrCorrupt},
		"update of text":        {planted: "hello", call: update, want: ErrCorrupt},
		"store over text":       {planted: "hello", call: store(New(secretID)), want: ErrCorrupt},
		"take of text":          {planted: "hello", call: take1, want: ErrCorrupt},
		"take of another id":    {planted: value("another"), call: take1, want: ErrCorrupt},
		"a list": {redis: func(t *testing.T, m *miniredis.Miniredis) {
			_, err := m.Lpush("session: "+secretID, "x")
			require.NoError(t, err)
		}, call: load(secretID), want: ErrCorrupt},
		"Redis down for a load":   {redis: down, call: load(secretID), want: ErrUnavailable},
		"Redis down for a store":  {redis: down, call: store(New(secretID)), want: ErrUnavailable},
		"Redis down for a delete": {redis: down, call: remove(secretID), want: ErrUnavailable},
		"Redis down for a take":   {redis: down, call: take1, want: ErrUnavailable},
		"Redis loading":           {redis: says("LOADING dataset in memory"), call: load(secretID), want: ErrUnavailable},
		"Redis out of memory":     {redis: says("OOM command not allowed"), call: store(New(secretID)), want: ErrUnavailable},
		"Redis read-only":         {redis: says("READONLY replica"), call: store(New(secretID)), want: ErrUnavailable},
		"no permission":           {redis: says("NOPERM no permissions"), call: store(New(secretID)), want: ErrUnavailable},
		"an old Redis": {
			redis: says("ERR unknown command 'EVALSHA', with args beginning with: 'session: " + secretID + "'"),
			call:  load(secretID), want: ErrUnavailable,
		},
		"an echo": {redis: says("ERR bad key session: " + secretID), call: load(secretID), want: ErrUnavailable},
		"cancelled load": {call: func(ctx context.Context, st Storage) error {
			return load(secretID)(cancelled(ctx), st)
		}, want: context.Canceled},
		"cancelled store": {call: func(ctx context.Context, st Storage) error {
			return st.Store(cancelled(ctx), New(secretID))
		}, want: context.Canceled},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			client := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, DialerRetries: 1})
			defer func() { require.NoError(t, client.Close()) }()
			if test.planted != "" {
				require.NoError(t, m.Set("session: "+secretID, test.planted))
			}
			if test.redis != nil {
				test.redis(t, m)
			}
			st := NewRoutingStorage(NewRedisStorage(client, time.Minute, WithMaxSize(4096)), 10)
			defer func() { require.NoError(t, st.Close()) }()

			err := test.call(t.Context(), st)
			require.ErrorIs(t, err, test.want)
			require.NotContains(t, err.Error(), secretID)
			require.True(t, strings.HasPrefix(err.Error(), "session: "), err.Error())
			require.Zero(t, st.Stats().Entries)
			if test.planted != "" {
				got, err := m.Get("session: " + secretID)
				require.NoError(t, err)
				require.Equal(t, test.planted, got)
			}
		})
	}
}

func TestServerThatAnswersNonsense(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"garbage":      "hello\r\n",
		"a number":     ":7\r\n",
		"an array":     "*1\r\n$1\r\nx\r\n",
		"a short bulk": "$3\r\nabc\r\n",
		"half a bulk":  "$300\r\nabc",
		"a hang-up":    "",
	} {
		for op, call := range map[string]func(context.Context, Storage) error{
			"load":  func(ctx context.Context, st Storage) error { _, err := st.Load(ctx, secretID); return err },
			"store": func(ctx context.Context, st Storage) error { return st.Store(ctx, New(secretID)) },
			"take":  take1,
		} {
			t.Run(name+" to "+op, func(t *testing.T) {
				t.Parallel()
				client := redis.NewClient(&redis.Options{
					Addr: answering(t, reply), MaxRetries: -1, DialerRetries: 1, Protocol: 2, DisableIdentity: true,
					ReadTimeout: 100 * time.Millisecond,
				})
				defer func() { require.NoError(t, client.Close()) }()
				st := NewRoutingStorage(NewRedisStorage(client, time.Minute), 10)
				defer func() { require.NoError(t, st.Close()) }()
				err := call(t.Context(), st)
				require.Error(t, err)
				require.True(t, errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt), err)
				require.NotContains(t, err.Error(), secretID)
				require.Zero(t, st.Stats().Entries)
			})
		}
	}
}

func stamped(s *Session, revision uint64) *Session {
	Stamp(s, revision)
	return s
}

func create(s *Session) func(context.Context, Storage) error {
	return func(ctx context.Context, st Storage) error { return st.(Creator).Create(ctx, s) }
}

func take1(ctx context.Context, st Storage) error {
	_, err := st.(Taker).Take(ctx, secretID)
	return err
}

func down(_ *testing.T, m *miniredis.Miniredis) { m.Close() }

func says(message string) func(*testing.T, *miniredis.Miniredis) {
	return func(_ *testing.T, m *miniredis.Miniredis) { m.SetError(message) }
}

func cancelled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// answering starts a server that gives the same reply to every command.
func answering(t *testing.T, reply string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { answer(conn, reply) })
		}
	})
	t.Cleanup(connections.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// answer lets the client set up its connection. After that it replies to each command (an array) as soon as the
// command's name has arrived.
func answer(conn net.Conn, reply string) {
	defer func() { _ = conn.Close() }()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("*")) || !lines.Scan() || !lines.Scan() {
			continue
		}
		text := reply
		switch strings.ToUpper(lines.Text()) {
		case "HELLO":
			text = "-ERR unknown command\r\n"
		case "CLIENT":
			text = "+OK\r\n"
		}
		if text == "" {
			return
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			return
		}
	}
}

func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	require.Equal(t, 200, HTTPStatus(nil))
	tested := make(map[error]bool)
	for _, test := range []struct {
		err  error
		want int
	}{
		{ErrNotFound, 404},
		{ErrCorrupt, 404},
		{ErrInvalidID, 400},
		{ErrTooLarge, 413},
		{ErrConflict, 409},
		{ErrExists, 409},
		{ErrTooMany, 409},
		{ErrUnavailable, 503},
		{ErrClosed, 503},
		{ErrLifetime, 500},
		{ErrEncode, 500},
		{errors.ErrUnsupported, 500},
		{context.Canceled, 503},
		{context.DeadlineExceeded, 503},
		{io.EOF, 500},
	} {
		tested[test.err] = true
		for form, err := range map[string]error{
			"bare":              test.err,
			"of an operation":   opErr("load", test.err),
			"with a cause":      opErrBecause("load", test.err, errors.Join(io.ErrUnexpectedEOF, ErrNotFound)),
			"wrapped":           fmt.Errorf("handler: %w", test.err),
			"wrapped twice":     fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, fmt.Errorf("handler: %w", test.err)),
			"joined":            errors.Join(io.ErrUnexpectedEOF, test.err),
			"joined with a nil": errors.Join(nil, test.err),
		} {
			require.Equal(t, test.want, HTTPStatus(err), "%v, %s", test.err, form)
		}
		require.Equal(t, 503, HTTPStatus(errors.Join(test.err, ErrUnavailable)), "%v in an outage", test.err)
	}
	for _, sentinel := range sentinels {
		require.True(t, tested[sentinel], "%v is not in the table", sentinel)
	}
	require.Equal(t, 409, HTTPStatus(errors.Join(context.Canceled, ErrConflict)), "an answer came in time")
}
