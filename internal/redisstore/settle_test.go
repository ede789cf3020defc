package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// errTimedOut is what a client says of a reply that does not come in time.
var errTimedOut error = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

// interceptor is a hook of a store's client, and so of each of its connections. It decides what becomes of a script,
// and of a pipeline: but not of the one with which the client begins a connection, whenever it needs one more.
type interceptor struct {
	script   func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error
	pipeline func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (i *interceptor) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if i.script != nil && (cmd.Name() == "evalsha" || cmd.Name() == "eval") {
			return i.script(ctx, cmd, next)
		}
		return next(ctx, cmd)
	}
}

func (i *interceptor) DialHook(next redis.DialHook) redis.DialHook { return next }

func (i *interceptor) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if i.pipeline != nil && cmds[0].Name() != "client" {
			return i.pipeline(ctx, cmds, next)
		}
		return next(ctx, cmds)
	}
}

// scripted returns a store whose scripts f decides on, and a client of the same server.
func scripted(t *testing.T, f func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error) (
	*settleWorld, *int,
) {
	t.Helper()
	w, sent := newSettleWorld(t, redistest.Start(t)), new(int)
	w.hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		*sent++
		return f(ctx, cmd, next)
	}
	return w, sent
}

// operations are all that a store does with the value "id", which has a revision.
func operations(s *Store, revision uint64) map[string]func(ctx context.Context) error {
	write := func(c Condition) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Put(ctx, testID, Write{Condition: c})
			return err
		}
	}
	return map[string]func(ctx context.Context) error{
		"get": func(ctx context.Context) error { _, err := s.Get(ctx, testID); return err },
		"unchanged": func(ctx context.Context) error {
			unchanged, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: revision}})
			if err == nil && !unchanged[0] {
				err = errors.New("changed")
			}
			return err
		},
		"store":   write(IfRevision(revision)),
		"put":     write(Always),
		"create":  func(ctx context.Context) error { _, err := s.Put(ctx, "new", Write{Condition: IfAbsent}); return err },
		"replace": write(IfPresent),
		"delete":  func(ctx context.Context) error { return s.Delete(ctx, testID) },
		"take":    func(ctx context.Context) error { _, _, err := s.Take(ctx, testID); return err },
	}
}

// TestSettleWhatIsRepeated loses the first reply of every operation.
func TestSettleWhatIsRepeated(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{io.EOF, errTimedOut} {
		for name := range operations(nil, 0) {
			t.Run(fmt.Sprint(name, ", ", lost), func(t *testing.T) {
				t.Parallel()
				first := true
				w, sent := scripted(t, func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
					err := next(ctx, cmd)
					if err == nil && first { // not NOSCRIPT
						first = false
						return lost
					}
					return err
				})
				revision := put(t, w.theirs, testID)
				err := operations(w.store, revision)[name](t.Context())
				require.False(t, first)
				if name == "take" {
					require.ErrorIs(t, err, lost)
					require.Equal(t, stored{}, w.stored(t, testID), "it has taken place")
				} else {
					require.NoError(t, err)
					require.GreaterOrEqual(t, *sent, 2)
				}
			})
		}
	}
}

// TestSettleRefusalIsNoLostReply has the server refuse each operation, in which case nothing was executed, or execute
// it without enough replicas.
func TestSettleRefusalIsNoLostReply(t *testing.T) {
	t.Parallel()
	refusals := []error{ErrTooFewReplicas, redis.Nil, errors.New("an error of a hook")}
	for _, code := range []string{
		"MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "TRYAGAIN", "LOADING", "READONLY", "CLUSTERDOWN", "OOM", "NOREPLICAS",
		"MASTERDOWN", "BUSY", "NOPERM", "ERR of another kind",
	} {
		refusals = append(refusals, reply(code))
	}
	var refusal error
	w, sent := scripted(t, func(context.Context, redis.Cmder, redis.ProcessHook) error { return refusal })
	for name, call := range operations(w.store, 7) {
		for _, refusal = range refusals {
			*sent = 0
			err := call(t.Context())
			require.ErrorIs(t, err, refusal, name)
			require.False(t, isAnswer(err))
			require.Equal(t, 1, *sent, "%s, %v", name, refusal)
		}
	}
}

// TestSettleAfterAnUnknownScript has a server that has forgotten the scripts between the two attempts.
func TestSettleAfterAnUnknownScript(t *testing.T) {
	t.Parallel()
	first := true
	var w *settleWorld
	w, sent := scripted(t, func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		if !first {
			return next(ctx, cmd)
		}
		first = false
		require.NoError(t, next(ctx, cmd))
		require.NoError(t, w.raw.ScriptFlush(ctx).Err())
		return io.EOF
	})
	revision, err := w.store.Put(t.Context(), testID, Write{Data: []byte("data"), Condition: IfAbsent})
	require.NoError(t, err)
	require.Equal(t, 3, *sent, "EVALSHA, and then EVALSHA and EVAL")
	require.Equal(t, revisionText(revision), w.stored(t, testID).revision)
}

// TestSettleWithinTheContext has a caller who gives up during the first attempt, or during the second.
func TestSettleWithinTheContext(t *testing.T) {
	t.Parallel()
	for attempts := 1; attempts <= 2; attempts++ {
		for name := range operations(nil, 0) {
			if name == "take" {
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			w, sent := scripted(t, nil)
			w.hook.script = func(context.Context, redis.Cmder, redis.ProcessHook) error {
				if *sent++; *sent == attempts {
					cancel()
				}
				return io.EOF
			}
			require.ErrorIs(t, operations(w.store, 7)[name](ctx), io.EOF, name)
			require.Equal(t, attempts, *sent, name)
		}
	}
}

// TestSettleStartsTheTTLAnew has a repetition that finds its token: the value lives for a TTL from then, but not past
// its end.
func TestSettleStartsTheTTLAnew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lifetime Lifetime
		want     time.Duration
	}{
		{Lifetime{}, time.Minute},
		{Lifetime{End: time.Now().Add(30 * time.Second)}, 30 * time.Second},
		{Lifetime{Idle: time.Hour}, time.Hour},
	} {
		first := true
		var w *settleWorld
		w, _ = scripted(t, func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			err := next(ctx, cmd)
			if first {
				require.NoError(t, err)
				first = false
				require.NoError(t, w.raw.PExpire(ctx, w.store.key(testID), time.Second).Err())
				return io.EOF
			}
			return err
		})
		_, err := w.store.Put(t.Context(), testID, Write{Lifetime: test.lifetime})
		require.NoError(t, err)
		ttl := w.raw.PTTL(t.Context(), w.store.key(testID)).Val()
		require.Greater(t, ttl, test.want-10*time.Second)
		require.LessOrEqual(t, ttl, test.want)
	}
}

func TestSettleByWhatEnded(t *testing.T) {
	t.Parallel()
	network := func(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }
	for _, test := range []struct {
		err  error
		want loss
	}{
		{nil, notLost},
		{reply("READONLY You can't write against a read only replica."), notLost},
		{redis.Nil, notLost},
		{ErrTooFewReplicas, notLost},
		{redis.ErrPoolTimeout, notLost}, // never sent
		{redis.ErrClosed, notLost},
		{errors.New("a hook"), notLost},
		{network("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), notLost},
		{network("dial", os.ErrDeadlineExceeded), notLost},
		{io.EOF, closed},
		{io.ErrUnexpectedEOF, closed},
		{fmt.Errorf("hook: %w", io.EOF), closed},
		{network("read", os.NewSyscallError("read", syscall.ECONNRESET)), closed},
		{network("write", os.NewSyscallError("write", syscall.EPIPE)), closed},
		{network("read", os.ErrDeadlineExceeded), overdue},
		{network("read", net.ErrClosed), overdue}, // by this side
		{network("read", os.NewSyscallError("read", syscall.EHOSTUNREACH)), overdue},
		{context.DeadlineExceeded, overdue},
		{context.Canceled, overdue},
	} {
		require.Equal(t, test.want, lossOf(test.err), "%v", test.err)
	}
}
