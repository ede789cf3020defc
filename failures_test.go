package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFailuresAreCountedByKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want Failures
		errs []error
	}{
		{Failures{}, []error{nil, ErrInvalidID}},
		{Failures{NotFound: 1}, []error{ErrNotFound}},
		{Failures{Unavailable: 1}, []error{ErrUnavailable, errors.Join(ErrUnavailable, ErrNotFound)}},
		{Failures{Corrupt: 1}, []error{ErrCorrupt}},
		{Failures{Conflict: 1}, []error{ErrConflict, ErrExists}},
		{Failures{Limit: 1}, []error{ErrTooLarge, ErrTooMany}},
		{Failures{Canceled: 1}, []error{context.Canceled, context.DeadlineExceeded}},
		{Failures{Other: 1}, []error{ErrLifetime, ErrEncode, ErrClosed, errors.ErrUnsupported, errLink}},
	} {
		for _, err := range test.errs {
			var f failures
			require.Equal(t, err, f.count(err))
			require.Equal(t, test.want, f.snapshot(), "%v", err)
		}
	}
}

func TestStatsCountFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		ctx := t.Context()
		_, err := st.Load(ctx, testID)
		require.ErrorIs(t, err, ErrNotFound)
		_, err = st.Load(ctx, "")
		require.ErrorIs(t, err, ErrInvalidID)
		remote.fail("load", "request", errLink)
		_, err = st.LoadFresh(ctx, testID)
		require.ErrorIs(t, err, ErrUnavailable)
		_, err = st.Peek(ctx, testID)
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, Failures{NotFound: 2, Unavailable: 1}, st.Stats().FailedLoads)

		require.NoError(t, st.Create(ctx, New(testID)))
		require.ErrorIs(t, st.Create(ctx, New(testID)), ErrExists)
		remote.fail("store", "reply", errLink)
		require.ErrorIs(t, st.Store(ctx, New(testID)), ErrUnavailable)
		remote.fail("delete", "request", errLink)
		require.ErrorIs(t, st.Delete(ctx, testID), ErrUnavailable)
		_, err = st.Take(ctx, "another")
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, st.DeleteExpired(cancelled(ctx), time.Now()), context.Canceled)
		require.Equal(t, Failures{NotFound: 1, Unavailable: 2, Conflict: 1, Canceled: 1}, st.Stats().FailedWrites)

		require.NoError(t, st.Store(ctx, New(testID)))
		require.NoError(t, loadNow(ctx, st).err)
		for range 3 {
			remote.fail("load", "request", errLink)
		}
		time.Sleep(staleness / 2)
		require.NoError(t, loadNow(ctx, st).err)
		time.Sleep(staleness / 4)
		require.Equal(t, Failures{Unavailable: 3}, st.Stats().FailedRefreshes)
		require.EqualValues(t, 3, st.Stats().FailedLoads.Unavailable+st.Stats().FailedWrites.Unavailable, "no others")
	})
}

// unlisted is a remote whose index of owners is away.
type unlisted struct{ *MemoryStorage }

func (unlisted) FailedListings() uint64 { return 7 }

func TestStatsHaveTheRemotesFailedListings(t *testing.T) {
	t.Parallel()
	for remote, want := range map[Storage]uint64{
		unlisted{NewMemoryStorage(time.Hour)}: 7, NewMemoryStorage(time.Hour): 0,
	} {
		st := NewRoutingStorage(remote, 10)
		require.Equal(t, want, st.Stats().FailedListings)
		require.NoError(t, st.Close())
	}
	var _ interface{ FailedListings() uint64 } = (*RedisStorage)(nil)
}

func TestModeTellsAnOutageFromMissingEvents(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		time.Sleep(staleness)
		remote.fail("load", "request", errLink)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
		require.Equal(t, ModeUnavailable, st.Stats().Mode)
		time.Sleep(time.Millisecond)
		require.NoError(t, loadNow(t.Context(), st).err)
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
	})
}

// TestStatsInJSON: what expvar shows has stable names, each once, and nothing of a session.
func TestStatsInJSON(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(NewMemoryStorage(time.Hour), 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.NoError(t, st.Store(t.Context(), New(testID).WithPrincipal("alice").With("k", "secret")))
	require.NoError(t, st.Store(t.Context(), New(testID).WithPrincipal("alice").With("k", "secret")))
	text, err := json.Marshal(st.Stats())
	require.NoError(t, err)
	for _, secret := range []string{testID, "alice", "secret"} {
		require.NotContains(t, string(text), secret)
	}
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	require.Len(t, fields, reflect.TypeFor[Stats]().NumField())
	for name := range fields {
		require.Equal(t, strings.ToLower(name), name)
	}
}

func TestReady(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		for range 3 {
			remote.fail("load", "request", errLink)
			require.ErrorIs(t, st.Ready(t.Context()), ErrUnavailable)
		}
		require.ErrorIs(t, st.Ready(cancelled(t.Context())), context.Canceled)
		require.NoError(t, st.Ready(t.Context()))
		asked := remote.loadCount()
		remote.fail("load", "request", errLink)
		for range 3 {
			require.NoError(t, st.Ready(t.Context()), "an outage takes no replica out")
			require.NoError(t, st.Ready(cancelled(t.Context())), "there is nothing to wait for")
		}
		require.Equal(t, asked, remote.loadCount())
		require.Zero(t, st.Stats().FailedLoads, "they are not the callers' loads")
		require.NoError(t, st.Close())
		require.ErrorIs(t, st.Ready(t.Context()), ErrClosed)
	})
}

func TestReadyAfterAnyAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		require.NoError(t, st.Ready(t.Context()))
		require.Zero(t, remote.loadCount())
	})
}

// TestReadyIsBoundedByTheTimeout: a remote that says nothing.
func TestReadyIsBoundedByTheTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		defer remote.hold("load", "request")()
		start := time.Now()
		require.ErrorIs(t, st.Ready(t.Context()), ErrUnavailable)
		require.Equal(t, time.Second, time.Since(start))
	}, WithLoadTimeout(time.Second))
}

type hooked struct{ calls []string }

type hookKey struct{}

func (h *hooked) hook(ctx context.Context, op string) (context.Context, func(error)) {
	value := ctx.Value(hookKey{})
	return context.WithValue(ctx, hookKey{}, op), func(err error) {
		h.calls = append(h.calls, fmt.Sprint(op, " ", value, ": ", err))
	}
}

// hookedRemote checks that it is called within the hook.
type hookedRemote struct {
	*MemoryStorage
	t *testing.T
}

func (r hookedRemote) Load(ctx context.Context, id string) (*Session, error) {
	require.Equal(r.t, "load", ctx.Value(hookKey{}))
	return r.MemoryStorage.Load(ctx, id)
}

func (r hookedRemote) Store(ctx context.Context, s *Session) error {
	require.Equal(r.t, "store", ctx.Value(hookKey{}))
	if _, ok := s.Get("panic"); ok {
		panic(s.ID())
	}
	return r.MemoryStorage.Store(ctx, s)
}

func TestRemoteHookSeesEachCall(t *testing.T) {
	t.Parallel()
	var h hooked
	ctx := context.WithValue(t.Context(), hookKey{}, "caller")
	st := NewRoutingStorage(hookedRemote{NewMemoryStorage(time.Hour), t}, 10, WithRemoteHook(h.hook),
		WithMaxStaleness(time.Hour))
	defer func() { require.NoError(t, st.Close()) }()
	_, _ = st.Load(ctx, testID)
	require.NoError(t, st.Store(ctx, New(testID).WithPrincipal("alice")))
	_, _ = st.Load(ctx, testID) // a hit
	_, _ = st.Peek(ctx, "another")
	_ = st.Create(ctx, New(testID))
	for _, err := range st.Sessions(ctx, "alice") {
		require.NoError(t, err)
		break
	}
	_, _ = st.Revoke(ctx, "alice")
	_, _ = st.Take(ctx, testID)
	require.NoError(t, st.Delete(ctx, testID))
	require.NoError(t, st.DeleteExpired(ctx, time.Now()))
	require.Panics(t, func() { _ = st.Store(ctx, New(testID).With("panic", "")) })
	_ = st.Store(ctx, New("")) // sends nothing
	require.Equal(t, []string{
		"load caller: session: load: not found",
		"store caller: <nil>",
		"peek caller: session: peek: not found",
		"create caller: session: create: already exists",
		"sessions caller: <nil>",
		"revoke caller: <nil>",
		"take caller: session: take: not found",
		"delete caller: <nil>",
		"delete expired caller: <nil>",
		"store caller: session: storage unavailable: a call of the remote panicked",
	}, h.calls)
}

// TestRemoteHookSeesKeepAlive has the calls that a storage makes by itself.
func TestRemoteHookSeesKeepAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen atomic.Int64
		remote := &together{flaky: newFlaky()}
		hook := func(ctx context.Context, op string) (context.Context, func(error)) {
			if op != "store" {
				seen.Add(1)
			}
			return ctx, func(error) {}
		}
		st := NewRoutingStorage(remote, 10, WithRemoteHook(hook))
		require.NoError(t, st.Store(t.Context(), New(testID)))
		_, stop := KeepAlive(t.Context(), st, testID)
		time.Sleep(2 * keepTTL)
		remote.down.Store(true)
		time.Sleep(keepTTL / 4)
		stop()
		require.NoError(t, st.Close())
		require.Greater(t, seen.Load(), int64(16))
		require.Equal(t, remote.calls.Load(), seen.Load())
	})
}

func TestRemoteHookKeepsCapabilities(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		remote.report(Gap{}, Alive{AsOf: time.Now()})
		require.Equal(t, ModeLeased, st.Stats().Mode)
	}, WithRemoteHook(new(hooked).hook))
}
