package secrecy

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// TestRedisHasNothingUsable runs a service on two replicas, and looks for ids, principals and contents in all that
// Redis shows of itself: to who reads the data, a replica, MONITOR, the slow log, the events, or a trace of the
// commands. It also checks that they are found without hashed ids.
func TestRedisHasNothingUsable(t *testing.T) {
	t.Parallel()
	places := []string{"MONITOR", "the replica", "SLOWLOG", "keys", "values", "the file", "events", "the trace"}
	for name, secure := range map[string]bool{"hashed and sealed": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ring, key := newRing(t)
			var opts []session.RedisOption
			if secure {
				opts = append(opts, session.WithHashedIDs(), session.WithCodec(session.NewSealedCodec(ring, nil)))
			}
			w := &workload{opts: append(opts, session.WithOwnerIndex())}
			w.secrets.add("key", key)
			shown := w.run(t)
			for _, place := range places {
				require.NotEmpty(t, shown[place], place)
				if !secure {
					require.NotEmpty(t, w.secrets.find(shown[place]), "%s: the test can fail", place)
				}
			}
			if secure {
				for place, text := range shown {
					w.secrets.requireNone(t, place, text)
				}
			}
		})
	}
}

// newRing returns a ring, and the secret of its one key.
func newRing(t testing.TB) (*session.KeyRing, []byte) {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	ring, err := session.NewKeyRing(session.Key{ID: "2026-11", Secret: key})
	require.NoError(t, err)
	return ring, key
}

// workload is a run of a service that has secrets.
type workload struct {
	opts    []session.RedisOption
	secrets secrets

	trace logtest.Log // what a hook of the client sees
}

// session returns a session all of whose contents are secrets.
func (w *workload) session() *session.Session {
	id, principal, key, value, data := session.NewID(), session.NewID(), session.NewID(), session.NewID(), session.NewID()
	for name, secret := range map[string]string{
		"id": id, "principal": principal, "metadata key": key, "metadata value": value, "data": data,
	} {
		w.secrets.add(name, []byte(secret))
	}
	return session.New(id).WithPrincipal(principal).With(key, value).WithData([]byte(data))
}

// run returns what Redis has shown, by place.
func (w *workload) run(t *testing.T) map[string]string {
	t.Helper()
	server := redistest.Start(t, redistest.WithConfig(
		"slowlog-log-slower-than 0", "slowlog-max-len 100000", "rdbcompression no", "notify-keyspace-events KEA"))
	replica := redistest.Start(t)
	host, port := realtest.HostPort(t, server)
	require.NoError(t, replica.Client(t).ReplicaOf(t.Context(), host, port).Err())
	realtest.Await(t, "the replica", func() bool {
		return strings.Contains(replica.Client(t).Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	monitor, ofReplica := server.Monitor(t), replica.Monitor(t)
	events := listen(t, server.Client(t))

	a, b := w.replica(t, server), w.replica(t, server)
	w.serve(t, a, b)

	admin := server.Client(t)
	_, err := admin.Wait(t.Context(), 1, realtest.Patience).Result()
	require.NoError(t, err)
	shown := map[string]string{
		"MONITOR":     monitor.Seen(),
		"the replica": ofReplica.Seen(),
		"SLOWLOG":     fmt.Sprint(admin.Do(t.Context(), "SLOWLOG", "GET", -1).Val()),
		"the file":    snapshot(t, admin),
		"the trace":   w.trace.String(),
		"other":       others(t, admin),
	}
	shown["keys"], shown["values"] = contents(t, admin)
	shown["events"] = events()
	return shown
}

// replicaOf is one process of the service.
type replicaOf struct {
	*session.RoutingStorage

	remote *session.RedisStorage
}

func (w *workload) replica(t *testing.T, server *redistest.Server) replicaOf {
	t.Helper()
	client := server.Client(t)
	client.AddHook(tracer{&w.trace})
	remote := session.NewRedisStorage(client, time.Minute, w.opts...)
	st := session.NewRoutingStorage(remote, 100, session.WithMaxStaleness(realtest.Staleness),
		session.WithRefreshAfter(10*time.Millisecond), session.WithFencing())
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return replicaOf{st, remote}
}

// serve uses every operation.
func (w *workload) serve(t *testing.T, a, b replicaOf) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	removed := make(chan string, 1000)
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = b.Watch(ctx, time.Second, func(e session.Event) {
			if gone, ok := e.(session.Removed); ok {
				removed <- gone.ID
			}
		})
	})
	for _, st := range []replicaOf{a, b} {
		realtest.Await(t, "events", func() bool { return st.Stats().Mode == session.ModeLeased })
	}
	load := func(st replicaOf, id string) {
		t.Helper()
		_, err := st.Load(ctx, id)
		require.NoError(t, err)
	}
	first := w.session()
	require.NoError(t, a.Create(ctx, first))
	realtest.Await(t, "a refresh", func() bool {
		load(a, first.ID())
		load(b, first.ID())
		return a.Stats().Refreshes > 0 && b.Stats().Refreshes > 0
	})
	for _, call := range []func(context.Context, string) (*session.Session, error){b.Peek, b.LoadFresh, b.remote.Peek} {
		_, err := call(ctx, first.ID())
		require.NoError(t, err)
	}
	_, err := session.Update(ctx, b, first.ID(), func(s *session.Session) (*session.Session, error) {
		return s.WithType(session.TypeSSE), nil
	})
	require.NoError(t, err)
	_, err = a.Load(ctx, "unknown-"+session.NewID())
	require.ErrorIs(t, err, session.ErrNotFound)

	owned := func() *session.Session { return must(session.LoadOwned(ctx, a, first.ID(), first.Principal())) }
	realtest.Await(t, "the update", func() bool { return owned().Type() == session.TypeSSE }) // else Renew is a conflict
	renewed, err := session.Renew(ctx, a, owned())
	require.NoError(t, err)
	w.secrets.add("id", []byte(renewed.ID()))
	load(b, renewed.ID())
	_, err = a.Take(ctx, renewed.ID())
	require.NoError(t, err)

	kept, deleted := w.session(), w.session()
	require.NoError(t, a.Store(ctx, kept))
	require.NoError(t, a.Store(ctx, deleted))
	require.NoError(t, a.Delete(ctx, deleted.ID()))
	require.NoError(t, a.Fence(ctx))
	_, err = b.Load(ctx, deleted.ID())
	require.ErrorIs(t, err, session.ErrNotFound)
	revoked := w.own(t, a, b)

	gone := make(map[string]bool)
	for !gone[revoked] {
		select {
		case id := <-removed:
			gone[id] = true
		case <-time.After(realtest.Patience):
			t.Fatal("the removal was not reported")
		}
	}
	require.True(t, gone[first.ID()] && gone[renewed.ID()] && gone[deleted.ID()], "watchers get the ids themselves")
	require.Equal(t, uint64(1), b.Stats().Gaps, "every event could be read")
	stop()
	watching.Wait()
}

// own uses what the owner index is for.
func (w *workload) own(t *testing.T, a, b replicaOf) (revokedID string) {
	t.Helper()
	listed, revoked := w.session(), w.session()
	require.NoError(t, a.Store(t.Context(), listed))
	require.NoError(t, a.Store(t.Context(), revoked))
	var ids []string
	for s, err := range a.remote.Sessions(t.Context(), listed.Principal()) {
		require.NoError(t, err)
		ids = append(ids, s.ID())
	}
	require.Equal(t, []string{listed.ID()}, ids)
	n, err := a.remote.Revoke(t.Context(), revoked.Principal())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = b.LoadFresh(t.Context(), revoked.ID())
	require.ErrorIs(t, err, session.ErrNotFound)
	return revoked.ID()
}

func must(s *session.Session, err error) *session.Session {
	if err != nil {
		panic(err)
	}
	return s
}

// tracer is a hook that records whole commands, as one for tracing may.
type tracer struct{ to *logtest.Log }

func (h tracer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h tracer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		_, _ = fmt.Fprintln(h.to, cmd.Args(), err)
		return err
	}
}

func (h tracer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			_, _ = fmt.Fprintln(h.to, cmd.Args(), err)
		}
		return err
	}
}

// listen subscribes to all channels, and returns a function that returns what has arrived until it was called.
func listen(t *testing.T, client *redis.Client) (heard func() string) {
	t.Helper()
	subscription := client.PSubscribe(t.Context(), "*")
	_, err := subscription.Receive(t.Context())
	require.NoError(t, err)
	return func() string {
		t.Helper()
		defer func() { require.NoError(t, subscription.Close()) }()
		const last = "the last message"
		require.NoError(t, client.Publish(t.Context(), last, "").Err())
		var text strings.Builder
		for {
			message, err := subscription.ReceiveMessage(t.Context())
			require.NoError(t, err)
			if message.Channel == last {
				return text.String()
			}
			_, _ = fmt.Fprintln(&text, message.Channel, message.Payload)
		}
	}
}

// contents returns all keys, and all that is stored under them.
func contents(t *testing.T, client *redis.Client) (keys, values string) {
	t.Helper()
	var text strings.Builder
	all, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	for _, key := range all {
		var value any
		switch kind := client.Type(t.Context(), key).Val(); kind {
		case "string":
			value = client.Get(t.Context(), key).Val()
		case "hash":
			value = client.HGetAll(t.Context(), key).Val()
		case "zset":
			value = client.ZRangeWithScores(t.Context(), key, 0, -1).Val()
		default:
			t.Fatalf("a %s", kind)
		}
		_, _ = fmt.Fprintln(&text, value)
	}
	return strings.Join(all, "\n"), text.String()
}

// snapshot returns the file that SAVE writes.
func snapshot(t *testing.T, client *redis.Client) string {
	t.Helper()
	require.NoError(t, client.Save(t.Context()).Err())
	dir := client.ConfigGet(t.Context(), "dir").Val()["dir"]
	name := client.ConfigGet(t.Context(), "dbfilename").Val()["dbfilename"]
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(text)
}

// others returns what else a server tells of its clients and their commands.
func others(t *testing.T, client *redis.Client) string {
	t.Helper()
	var text strings.Builder
	for _, command := range [][]any{{"INFO", "all"}, {"CLIENT", "LIST"}, {"ACL", "LOG"}, {"PUBSUB", "CHANNELS"}} {
		_, _ = fmt.Fprintln(&text, client.Do(t.Context(), command...).Val())
	}
	return text.String()
}
