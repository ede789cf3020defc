package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/redistest"
)

// eager are the options of a client that would repeat commands by itself.
func eager(addr string) *redis.Options {
	return &redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: 3, MinRetryBackoff: -1}
}

// TestLostReplyOnTheNetwork has links that deliver each request, and break before the reply.
func TestLostReplyOnTheNetwork(t *testing.T) {
	t.Parallel()
	for name := range operations(nil, 0) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s, log := onMiniredis(t)
			for _, warm := range operations(s, put(t, s, testID)) {
				_ = warm(t.Context())
			}
			revision := put(t, s, testID)
			require.NoError(t, s.Delete(t.Context(), "new"))
			link := redistest.StartLossyLink(t, m.Addr())
			client := redis.NewClient(eager(link.Addr()))
			defer func() { require.NoError(t, client.Close()) }()
			require.NoError(t, client.Ping(t.Context()).Err())
			link.LoseNextReply()
			log.Take()
			err := operations(newStore(client), revision)[name](t.Context())
			if name == "take" {
				require.ErrorIs(t, err, io.EOF)
				require.Equal(t, []string{"EVALSHA"}, log.Take(), "sent once")
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"EVALSHA", "EVALSHA"}, log.Take(), "sent twice, by the store")
		})
	}
}

// TestResetBeforeTheReply resets the connections when the server has executed a write, and the reply is on its way.
func TestResetBeforeTheReply(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	theirs := newStore(server.Client(t))
	link := netfault.Start(t, server.Addr())
	client := redis.NewClient(eager(link.Addr()))
	defer func() { require.NoError(t, client.Close()) }()
	s := newStore(client)
	put(t, s, "warm-up")
	for name, condition := range map[string]Condition{"create": IfAbsent, "put": Always} {
		link.Set(netfault.ToClient, netfault.Fault{Hold: true})
		type result struct {
			revision uint64
			err      error
		}
		done := make(chan result, 1)
		go func() {
			revision, err := s.Put(t.Context(), name, Write{Data: []byte("data"), Condition: condition})
			done <- result{revision, err}
		}()
		var v Value
		require.Eventually(t, func() (ok bool) {
			var err error
			v, err = theirs.Get(t.Context(), name)
			return err == nil
		}, 10*time.Second, time.Millisecond)
		link.Reset()
		link.Set(netfault.ToClient, netfault.Fault{})
		require.Equal(t, result{v.Revision, nil}, <-done, name)
	}
}

// TestLateFirstAttempt holds the first request back until the call has returned, while another connection works.
func TestLateFirstAttempt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call func(ctx context.Context, s *Store, revision uint64) (uint64, error)
		want error
		late func(t *testing.T, now Value, revision uint64, err error) // what is stored when it has arrived
	}{
		"store": {
			call: func(ctx context.Context, s *Store, revision uint64) (uint64, error) {
				return s.Put(ctx, testID, Write{Data: []byte("ours"), Condition: IfRevision(revision)})
			},
			late: func(t *testing.T, now Value, revision uint64, err error) {
				require.NoError(t, err)
				require.Equal(t, Value{[]byte("ours"), revision}, now)
			},
		},
		"put": {
			call: func(ctx context.Context, s *Store, _ uint64) (uint64, error) {
				return s.Put(ctx, testID, Write{Data: []byte("ours")})
			},
			want: errUnsettled,
			late: func(t *testing.T, now Value, _ uint64, err error) {
				require.NoError(t, err)
				require.Equal(t, "ours", string(now.Data), "it was not repeated")
			},
		},
		"delete": {
			call: func(ctx context.Context, s *Store, _ uint64) (uint64, error) { return 0, s.Delete(ctx, testID) },
			late: func(t *testing.T, _ Value, _ uint64, err error) { require.Equal(t, ErrMissing, err) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			theirs := newStore(server.Client(t))
			require.NoError(t, theirs.Delete(t.Context(), "warm-up"))
			revision := put(t, theirs, testID)
			slow, fast := netfault.Start(t, server.Addr()), netfault.Start(t, server.Addr())
			var target atomic.Value
			target.Store(slow.Addr())
			opts := eager("")
			opts.ReadTimeout = 200 * time.Millisecond
			opts.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, target.Load().(string))
			}
			client := redis.NewClient(opts)
			defer func() { require.NoError(t, client.Close()) }()
			require.NoError(t, client.Ping(t.Context()).Err()) // the first connection is slow, the next one fast
			target.Store(fast.Addr())
			slow.Set(netfault.ToServer, netfault.Fault{Hold: true})
			executed := scriptsExecuted(t, server)

			told, err := test.call(t.Context(), newStore(client), revision)
			require.Equal(t, test.want, err)
			require.Equal(t, executed+1, scriptsExecuted(t, server), "the repetition")
			slow.Set(netfault.ToServer, netfault.Fault{})
			arrived := func() bool { return scriptsExecuted(t, server) == executed+2 }
			require.Eventually(t, arrived, 10*time.Second, time.Millisecond)
			now, err := theirs.Get(t.Context(), testID)
			test.late(t, now, told, err)
		})
	}
}

// scriptsExecuted returns how many scripts a server has executed by their hash.
func scriptsExecuted(t *testing.T, server *redistest.Server) int {
	t.Helper()
	return redistest.Calls(t, server.Client(t))["evalsha"]
}

// fill gives a client's pool some idle connections.
func fill(t *testing.T, client *redis.Client, n int) {
	t.Helper()
	for range n {
		conn := client.Conn()
		require.NoError(t, conn.Ping(t.Context()).Err())
		defer func() { require.NoError(t, conn.Close()) }()
	}
}

// TestClosedIdleConnectionsFailNoCall has a server that closes connections while they are idle: an operator does, or
// `timeout` is over. Through TLS the client does not notice.
func TestClosedIdleConnectionsFailNoCall(t *testing.T) { //nolint:tparallel // one case would close another's
	t.Parallel()
	const idle = 10
	tls := redistest.Start(t, redistest.WithTLS())
	plain := redistest.Start(t)
	impatient := redistest.Start(t, redistest.WithTLS(), redistest.WithConfig("timeout 1"))
	for name, test := range map[string]struct {
		server *redistest.Server
		change func(*redis.Options)
		close  func(t *testing.T)
	}{
		"TLS":          {tls, func(*redis.Options) {}, killAll(tls)},
		"TLS, RESP2":   {tls, func(o *redis.Options) { o.Protocol = 2 }, killAll(tls)},
		"TLS, FIFO":    {tls, func(o *redis.Options) { o.PoolFIFO = true }, killAll(tls)},
		"plain":        {plain, func(*redis.Options) {}, killAll(plain)},
		"TLS, timeout": {impatient, func(*redis.Options) {}, func(t *testing.T) { awaitClients(t, impatient) }},
	} {
		t.Run(name, func(t *testing.T) {
			client := test.server.Client(t, test.change, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
			s := newStore(client)
			ops := []string{"store", "get", "unchanged", "create", "put", "delete"}
			if test.server == impatient {
				ops = ops[:2] // each takes two seconds
			}
			for _, op := range ops {
				require.NoError(t, s.Delete(t.Context(), "new"))
				revision := put(t, s, testID)
				fill(t, client, idle)
				test.close(t)
				if name != "plain" {
					require.GreaterOrEqual(t, int(client.PoolStats().IdleConns), idle, "the client has not noticed")
				}
				require.NoError(t, operations(s, revision)[op](t.Context()), op)
				for range idle {
					_, err := s.Get(t.Context(), "new")
					require.True(t, err == nil || errors.Is(err, ErrMissing), op)
				}
			}
		})
	}
}

func killAll(server *redistest.Server) func(t *testing.T) {
	return func(t *testing.T) {
		admin := server.Client(t, func(o *redis.Options) { o.PoolSize = 1 })
		require.NoError(t, admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal").Err())
		require.NoError(t, admin.Close())
	}
}

// TestRepetitionsNeedNoPermission has a user with no more permissions than docs/operations.md lists.
func TestRepetitionsNeedNoPermission(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithTLS(), redistest.WithConfig("user app reset resetchannels on >secret "+
		"~* &* +get +set +del +getrange +exists +pttl +pexpire +time +evalsha +eval +publish +subscribe"))
	client := server.Client(t, func(o *redis.Options) {
		o.Username, o.Password, o.DisableIdentity = "app", "secret", true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	})
	s := newStore(client)
	put(t, s, "warm-up")
	killAll(server)(t)
	put(t, s, testID)
	denied, err := server.Client(t).ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	if redistest.Since(t, "7.0.0") {
		require.Empty(t, denied)
	}
	for _, entry := range denied { // an error is an answer, too
		require.Equal(t, "hello", entry.Object)
	}
}

// awaitClients waits until a server has closed all connections but the one that asks.
func awaitClients(t *testing.T, server *redistest.Server) {
	t.Helper()
	admin := server.Client(t, func(o *redis.Options) { o.PoolSize = 1 })
	require.Eventually(t, func() bool {
		return strings.Contains(admin.Info(t.Context(), "clients").Val(), "connected_clients:1\r\n")
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, admin.Close())
}

// TestSettlingIsBounded has a server that closes every connection at the first script: it gets one repetition, however
// many idle connections the client has.
func TestSettlingIsBounded(t *testing.T) {
	t.Parallel()
	w, sent := scripted(t, func(context.Context, redis.Cmder, redis.ProcessHook) error { return syscall.ECONNRESET })
	client, _ := w.store.base.(*redis.Client)
	fill(t, client, 9)
	for name, call := range operations(w.store, 7) {
		*sent = 0
		require.ErrorIs(t, call(t.Context()), syscall.ECONNRESET, name)
		if name == "take" {
			require.Equal(t, 1, *sent, name)
		} else {
			require.Equal(t, 2, *sent, name)
		}
	}
}

// TestSettlingWithoutAServer has a connection that breaks because the server is gone.
func TestSettlingWithoutAServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithTLS())
	client := server.Client(t, func(o *redis.Options) { o.DialerRetries = 1 })
	s := newStore(client)
	put(t, s, testID)
	fill(t, client, 5)
	server.Kill()
	for name, call := range operations(s, 7) {
		err := call(t.Context())
		require.Error(t, err, name)
		require.False(t, isAnswer(err), name)
	}
}

// TestSettlingWaitsForReplicas loses the reply of a write that waits for a replica. What finds its token is a write,
// too, for which WAIT waits.
func TestSettlingWaitsForReplicas(t *testing.T) {
	t.Parallel()
	master, replica := redistest.Start(t), redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	require.NoError(t, replica.Client(t).ReplicaOf(t.Context(), host, port).Err())
	require.Eventually(t, func() bool {
		return strings.Contains(replica.Client(t).Info(t.Context(), "replication").Val(), "master_link_status:up")
	}, 20*time.Second, time.Millisecond)
	link := redistest.StartLossyLink(t, master.Addr())
	client := redis.NewClient(eager(link.Addr()))
	defer func() { require.NoError(t, client.Close()) }()
	s := replicated(client, 10*time.Second)
	put(t, s, "warm-up") // or the next reply would be that to HELLO
	executed := scriptsExecuted(t, master)
	link.LoseNextReply()
	revision := put(t, s, testID)
	require.Equal(t, executed+2, scriptsExecuted(t, master))
	has, err := replica.Client(t).Get(t.Context(), s.key(testID)).Result()
	require.NoError(t, err)
	require.Equal(t, revisionText(revision), has[1:17])

	require.NoError(t, s.Delete(t.Context(), "warm-up"))
	executed = scriptsExecuted(t, master)
	link.LoseNextReply()
	require.NoError(t, s.Delete(t.Context(), testID))
	require.Equal(t, executed+2, scriptsExecuted(t, master))

	require.NoError(t, replica.Client(t).Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	s = replicated(client, 10*time.Millisecond)
	require.Equal(t, ErrTooFewReplicas, s.Delete(t.Context(), "warm-up"))
	executed = scriptsExecuted(t, master)
	link.LoseNextReply()
	_, err = s.Put(t.Context(), testID, Write{Condition: IfAbsent})
	require.Equal(t, ErrTooFewReplicas, err, "the repetition finds the write, and too few replicas")
	require.Equal(t, executed+2, scriptsExecuted(t, master))
}

// TestSettlingOnACluster loses the first reply of each operation, and has the node that is asked again say MOVED.
func TestSettlingOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	for name := range operations(nil, 0) {
		if name == "unchanged" { // see TestSettlingAPipeline
			continue
		}
		var sent atomic.Int32
		hook := new(interceptor)
		client := cluster.Client(t)
		client.OnNewNode(func(node *redis.Client) { node.AddHook(hook) })
		s := newStore(client)
		revision := put(t, s, testID)
		require.NoError(t, s.Delete(t.Context(), "new"))
		hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			err := next(ctx, cmd)
			switch {
			case err != nil:
				return err
			case sent.Add(1) == 1:
				return io.EOF
			case sent.Load() == 2:
				return reply("MOVED 1 " + cluster.Nodes[0].Addr())
			}
			return nil
		}
		err := operations(s, revision)[name](t.Context())
		if name == "take" {
			require.ErrorIs(t, err, io.EOF)
			require.EqualValues(t, 1, sent.Load())
			continue
		}
		require.NoError(t, err, name)
		require.EqualValues(t, 3, sent.Load(), name)
	}
}

// TestSettlingAPipeline loses the replies of a revalidation from the second of several values on, at each master of a
// Cluster.
func TestSettlingAPipeline(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	client := cluster.Client(t)
	hook := new(interceptor)
	client.OnNewNode(func(node *redis.Client) { node.AddHook(hook) })
	s := newStore(client)
	var uses []Use
	var want []bool
	for i := range 30 {
		id := fmt.Sprint("id-", i)
		uses = append(uses, Use{ID: id, Revision: put(t, s, id)})
		want = append(want, true)
	}
	uses[7].Revision--
	want[7] = false
	unchanged, err := s.Unchanged(t.Context(), uses) // the first use of the script
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
	var sent atomic.Int32
	var seen sync.Map // the last key of each pipeline
	hook.pipeline = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
		err := next(ctx, cmds)
		sent.Add(1)
		if _, again := seen.LoadOrStore(cmds[len(cmds)-1].Args()[3], true); again {
			return err
		}
		for _, cmd := range cmds[1:] {
			cmd.SetErr(io.EOF)
		}
		return io.EOF
	}
	unchanged, err = s.Unchanged(t.Context(), uses)
	require.NoError(t, err)
	require.Equal(t, want, unchanged)
	require.EqualValues(t, 6, sent.Load())
}
