package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

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
