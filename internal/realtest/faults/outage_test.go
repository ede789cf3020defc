package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

const testID = "3DQ7JZ2N5W"

// operations calls everything that asks Redis about a session. known must have been loaded or stored.
func operations(st *session.RedisStorage, known *session.Session) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"load":               func(ctx context.Context) error { _, err := st.Load(ctx, testID); return err },
		"store":              func(ctx context.Context) error { return st.Store(ctx, session.New(testID)) },
		"store if unchanged": func(ctx context.Context) error { return st.Store(ctx, known) },
		"create":             func(ctx context.Context) error { return st.Create(ctx, session.New(testID)) },
		"take":               func(ctx context.Context) error { _, err := st.Take(ctx, testID); return err },
		"delete":             func(ctx context.Context) error { return st.Delete(ctx, testID) },
		"revalidate": func(ctx context.Context) error {
			_, err := st.Revalidate(ctx, []session.Use{used(known)})
			return err
		},
	}
}

// used is a use of a session just now.
func used(s *session.Session) session.Use {
	return session.Use{ID: s.ID(), Revision: s.Revision(), ExpiresAt: s.ExpiresAt(), At: time.Now()}
}

// requireOutage fails the test if an error could be taken for an answer about a session.
func requireOutage(t *testing.T, err error, what string) {
	t.Helper()
	require.ErrorIs(t, err, session.ErrUnavailable, what)
	for _, answer := range []error{
		session.ErrNotFound, session.ErrExists, session.ErrConflict, session.ErrCorrupt, session.ErrInvalidID,
		session.ErrTooLarge, session.ErrClosed, errors.ErrUnsupported,
	} {
		require.NotErrorIs(t, err, answer, what)
	}
}

// hooks answers commands instead of the server.
type hooks func(cmds ...redis.Cmder) error

func (h hooks) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hooks) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error { return h(cmd) }
}

func (h hooks) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error { return h(cmds...) }
}

// limiter refuses every command.
type limiter struct{ err error }

func (l limiter) Allow() error     { return l.err }
func (limiter) ReportResult(error) {}

// TestOutageIsNeverAnAnswer has every part of the client fail with an error that could be taken for an answer.
func TestOutageIsNeverAnAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	st := session.NewRedisStorage(server.Client(t), time.Minute)
	known := session.New(testID)
	require.NoError(t, st.Store(t.Context(), known))

	causes := map[string]error{
		"nil":           redis.Nil,
		"a wrapped nil": fmt.Errorf("sentinel: %w", redis.Nil),
		"a joined nil":  errors.Join(errors.New("first sentinel"), redis.Nil),
		"a text":        errors.New("a proxy says WRONGTYPE, NOSCRIPT and nil"),
		"EOPNOTSUPP":    &net.OpError{Op: "dial", Err: syscall.EOPNOTSUPP},
		"corrupt":       fmt.Errorf("key store: %w", session.ErrCorrupt),
	}
	for _, answer := range []error{session.ErrNotFound, session.ErrExists, session.ErrConflict, session.ErrClosed} {
		causes[answer.Error()] = answer
	}
	_, ofAnotherStorage := st.Load(t.Context(), "missing")
	causes["an error of another storage"] = ofAnotherStorage
	require.NoError(t, server.Client(t).Set(t.Context(), "session: text", "text", time.Minute).Err())
	_, causes["a corrupt value of another storage"] = st.Load(t.Context(), "text")

	for cause, failure := range causes {
		for where, set := range map[string]func(*redis.Options){
			"dialer": func(o *redis.Options) {
				o.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, failure }
			},
			"limiter":    func(o *redis.Options) { o.Limiter = limiter{failure} },
			"on connect": func(o *redis.Options) { o.OnConnect = func(context.Context, *redis.Conn) error { return failure } },
			"hook":       nil,
		} {
			client := server.Client(t, func(o *redis.Options) {
				o.MaxRetries, o.DialerRetries = -1, 1
				if set != nil {
					set(o)
				}
			})
			if set == nil {
				client.AddHook(hooks(func(cmds ...redis.Cmder) error {
					for _, cmd := range cmds {
						cmd.SetErr(failure)
					}
					return failure
				}))
			}
			requireOutages(t, client, known, where+": "+cause)
		}
	}
	swallowing := server.Client(t)
	swallowing.AddHook(hooks(func(...redis.Cmder) error { return nil }))
	requireOutages(t, swallowing, known, "a hook that swallows all errors")
}

func requireOutages(t *testing.T, client redis.UniversalClient, known *session.Session, what string) {
	t.Helper()
	for kind, opts := range map[string][]session.RedisOption{
		"plain": nil, "WithMinReplicas": {session.WithMinReplicas(1, time.Second)},
	} {
		for op, call := range operations(session.NewRedisStorage(client, time.Minute, opts...), known) {
			requireOutage(t, call(t.Context()), what+": "+op+", "+kind)
		}
	}
}

// reporter is a hook that wraps every error, and a limiter that counts them, as a circuit breaker does.
type reporter struct {
	*testing.T
	errs int
}

func (r *reporter) Allow() error { return nil }

func (r *reporter) ReportResult(err error) {
	if err != nil {
		r.errs++
	}
}

func (r *reporter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *reporter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil {
			return fmt.Errorf("traced: %w", err)
		}
		return nil
	}
}

func (r *reporter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestOrdinaryCallsAreNoErrors counts what a circuit breaker sees. A hook wraps errors, as tracing does.
func TestOrdinaryCallsAreNoErrors(t *testing.T) {
	t.Parallel()
	r := &reporter{T: t}
	client := redistest.Start(t).Client(t, func(o *redis.Options) { o.Limiter = r })
	client.AddHook(r)
	st := session.NewRedisStorage(client, time.Minute)
	for round := range 3 {
		ctx := t.Context()
		_, err := st.Load(ctx, testID)
		require.ErrorIs(t, err, session.ErrNotFound)
		_, err = st.Take(ctx, testID)
		require.ErrorIs(t, err, session.ErrNotFound)
		require.NoError(t, st.Delete(ctx, testID))
		s := session.New(testID).WithExpiresAt(time.Now().Add(30 * time.Second))
		require.NoError(t, st.Create(ctx, s))
		require.ErrorIs(t, st.Create(ctx, s), session.ErrExists)
		require.NoError(t, st.Store(ctx, s))
		_, err = st.Load(ctx, testID) // which caps the TTL
		require.NoError(t, err)
		_, err = st.Revalidate(ctx, []session.Use{used(s), used(session.New("missing"))})
		require.NoError(t, err)
		_, err = st.Take(ctx, testID)
		require.NoError(t, err)
		require.ErrorIs(t, st.Store(ctx, s), session.ErrNotFound)
		require.NoError(t, st.Delete(ctx, testID))
		if round == 0 {
			r.errs = 0 // the first use of a script is an error of the server
		}
	}
	require.Zero(t, r.errs)
}

func TestSentinelThatDoesNotKnowTheMaster(t *testing.T) {
	t.Parallel()
	servers := redistest.StartSentinel(t)
	ctx := t.Context()
	quick := func(o *redis.FailoverOptions) { o.MaxRetries, o.DialerRetries = 1, 1 }
	running := servers.Client(t, quick)
	st := session.NewRedisStorage(running, time.Minute)
	known := session.New(testID)
	require.NoError(t, st.Store(ctx, known))

	master := servers.Master(t)
	for _, sentinel := range servers.Sentinels {
		require.NoError(t, sentinel.Client(t).Do(ctx, "SENTINEL", "REMOVE", redistest.MasterName).Err())
	}
	requireOutages(t, servers.Client(t, quick), known, "a client that starts")
	require.NoError(t, master.Client(t).Do(ctx, "CLIENT", "KILL", "TYPE", "normal").Err())
	requireOutages(t, running, known, "a client whose connections broke")

	servers.Sentinels[0].Kill()
	servers.Sentinels[1].Kill()
	requireOutages(t, servers.Client(t, quick), known, "a client of the last sentinel")
	value, err := master.Client(t).Exists(ctx, "session: "+testID).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, value, "it is still there")
}

func TestClusterThatHidesItsNodes(t *testing.T) {
	t.Parallel()
	redistest.SkipBefore(t, "7.0.0", "there is no cluster-preferred-endpoint-type")
	cluster := redistest.StartCluster(t, 3, 0)
	st := session.NewRedisStorage(cluster.Client(t), time.Minute)
	known := session.New(testID)
	require.NoError(t, st.Store(t.Context(), known))
	for _, node := range cluster.Nodes {
		err := node.Client(t).ConfigSet(t.Context(), "cluster-preferred-endpoint-type", "unknown-endpoint").Err()
		require.NoError(t, err)
	}
	client := cluster.Client(t, func(o *redis.ClusterOptions) { o.MaxRedirects = 1 })
	for op, call := range operations(session.NewRedisStorage(client, time.Minute), known) {
		requireOutage(t, call(t.Context()), op)
	}
}

// TestUnknownCommandIsNamed renames a command that scripts call.
func TestUnknownCommandIsNamed(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{"PEXPIRE": "GET, PEXPIRE", "EVALSHA": "EVALSHA", "GET": "GET, PEXPIRE"} {
		client := redistest.Start(t, redistest.WithConfig("rename-command "+command+` ""`)).Client(t)
		_, err := session.NewRedisStorage(client, time.Minute).Load(t.Context(), testID)
		require.ErrorIs(t, err, session.ErrUnavailable)
		require.ErrorContains(t, err, "the server must be Redis 6.2 or later")
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), testID)
	}
}

// cancelling is a codec that cannot read anything, and ends a context before it says so.
type cancelling struct {
	session.JSONCodec
	cancel context.CancelFunc
}

func (c cancelling) Decode([]byte) (*session.Session, error) {
	c.cancel()
	return nil, errors.New("the key is unknown")
}

// TestTakePutsBackAfterItsContext ends the context of a Take between its two commands.
func TestTakePutsBackAfterItsContext(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	require.NoError(t, session.NewRedisStorage(client, time.Minute).Store(t.Context(), session.New(testID)))
	before := client.Get(t.Context(), "session: "+testID).Val()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st := session.NewRedisStorage(client, time.Minute, session.WithCodec(cancelling{cancel: cancel}))
	_, err := st.Take(ctx, testID)
	require.ErrorIs(t, err, session.ErrCorrupt)
	require.Error(t, ctx.Err())
	require.Equal(t, before, client.Get(t.Context(), "session: "+testID).Val())
	require.Greater(t, client.TTL(t.Context(), "session: "+testID).Val(), 50*time.Second)
}

// slowReply is a hook that delays the reply to a script until an instant.
type slowReply struct{ until time.Time }

func (h slowReply) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h slowReply) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "evalsha" { // others set up the connection
			time.Sleep(time.Until(h.until))
		}
		return err
	}
}

func (h slowReply) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestLoadThatOutlastsTheSession has a Load return after the session's absolute end.
func TestLoadThatOutlastsTheSession(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	end := time.Now().Add(time.Second)
	warm := session.NewRedisStorage(server.Client(t), time.Minute)
	require.NoError(t, warm.Store(t.Context(), session.New(testID).WithExpiresAt(end)))
	_, err := warm.Load(t.Context(), testID)
	require.NoError(t, err)
	client.AddHook(slowReply{until: end.Add(time.Millisecond)})
	_, err = session.NewRedisStorage(client, time.Minute).Load(t.Context(), testID)
	require.True(t, time.Now().After(end))
	require.ErrorIs(t, err, session.ErrNotFound)
}
