package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

// onServers runs a test on one server, and on a Cluster, where an index and its values are on different masters.
func onServers(t *testing.T, test func(t *testing.T, client redis.UniversalClient)) {
	t.Helper()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t).Client(t))
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.StartCluster(t, 3, 0).Client(t))
	})
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, client redis.UniversalClient) {
		s := withOwners(client)
		next, nextAlive, _ := watching(t, s, testHeartbeat)
		want := make(map[string]bool)
		putFor(t, s, bob, "his")
		for i := range 10 {
			id := fmt.Sprint("id-", i)
			putFor(t, s, alice, id)
			want[removed(id)] = true
		}
		untilAfter(nextAlive)
		ended, err := s.Revoke(t.Context(), alice)
		require.NoError(t, err)
		require.Equal(t, 10, ended)
		require.Empty(t, stamps(t, s, alice))
		untilAfter(nextAlive) // and so all events of the revoke have arrived
		for marker := changed("marker", put(t, s, "marker")); ; {
			e := next()
			if delete(want, e); e == marker {
				break
			}
		}
		require.Empty(t, want, "each is announced")
		_, err = s.Get(t.Context(), "his")
		require.NoError(t, err)
		ended, err = s.Revoke(t.Context(), alice)
		require.NoError(t, err)
		require.Zero(t, ended)
	})
}

// TestRevokeTenThousand ends all values of an owner, and none of another.
func TestRevokeTenThousand(t *testing.T) {
	t.Parallel()
	const n = 10_000
	onServers(t, func(t *testing.T, client redis.UniversalClient) {
		s := withOwners(client)
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for i := w; i < n; i += 8 {
					if _, err := s.Put(t.Context(), fmt.Sprint("id-", i), Write{Owner: alice}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		putFor(t, s, bob, "his")
		listed := 0
		for _, err := range s.Owned(t.Context(), alice) {
			require.NoError(t, err)
			listed++
		}
		require.Equal(t, n, listed)
		start := time.Now()
		ended, err := s.Revoke(t.Context(), alice)
		require.NoError(t, err)
		require.Equal(t, n, ended)
		t.Log("took", time.Since(start))
		require.Empty(t, stamps(t, s, alice))
		require.Equal(t, []string{"his"}, owned(t, s, bob))
		for i := range n {
			if i%97 == 0 {
				_, err := s.Peek(t.Context(), fmt.Sprint("id-", i))
				require.Equal(t, ErrMissing, err)
			}
		}
	})
}

// TestLoginsDuringARevoke has values that are created, renewed and deleted while the owner's are revoked, again and
// again. What was stored before a revoke began is gone when it has returned, and what lives then is in the index.
func TestLoginsDuringARevoke(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, client redis.UniversalClient) {
		s := withOwners(client)
		survivors := 0
		for round := range 25 {
			var (
				writers sync.WaitGroup
				mu      sync.Mutex
				stored  []string // by calls that have returned
			)
			for w := range 6 {
				writers.Go(func() {
					for i := range 12 {
						id := fmt.Sprintf("%d-%d-%d", round, w, i)
						if err := useInALogin(t.Context(), s, id, i); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						stored = append(stored, id)
						mu.Unlock()
					}
				})
			}
			var before []string
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				before = slices.Clone(stored)
				return len(before) >= 20
			}, 20*time.Second, 100*time.Microsecond)
			_, err := s.Revoke(t.Context(), alice)
			require.NoError(t, err)
			for _, id := range before {
				_, err := s.Peek(t.Context(), id)
				require.Equal(t, ErrMissing, err)
			}
			writers.Wait()
			living := owned(t, s, alice)
			for _, id := range living {
				requireListed(t, s, alice, id)
			}
			survivors += len(living)
		}
		require.Positive(t, survivors, "some are stored during a revoke, and live")
		_, err := s.Revoke(t.Context(), alice)
		require.NoError(t, err)
		require.Empty(t, valuesOn(t, client), "no value lives that no index names")
	})
}

// useInALogin creates a value, and then writes, loads or deletes it, or leaves it alone.
func useInALogin(ctx context.Context, s *Store, id string, i int) error {
	w := Write{Data: []byte(alice + id), Owner: alice, Condition: IfAbsent}
	revision, err := s.Put(ctx, id, w)
	if err != nil {
		return err
	}
	switch w.Condition = IfRevision(revision); i % 4 {
	case 0:
		_, err = s.Put(ctx, id, w)
	case 1:
		_, err = s.Get(ctx, id)
	case 2:
		err = s.Delete(ctx, id)
	}
	if errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// valuesOn returns the keys of all values.
func valuesOn(t *testing.T, client redis.UniversalClient) (keys []string) {
	t.Helper()
	nodes := []redis.UniversalClient{client}
	if cluster, ok := client.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		nodes = nil
		require.NoError(t, cluster.ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, node)
			return nil
		}))
	}
	for _, node := range nodes {
		for _, key := range node.Keys(t.Context(), "app: *").Val() {
			if !strings.Contains(key, "!owner") {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// TestRevokeWithLostReplies loses the reply of each step in turn. Nothing survives, and no count is too high.
func TestRevokeWithLostReplies(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{io.EOF, errTimedOut} {
		for step := 1; step <= 3; step++ {
			w := newSettleWorld(t, redistest.Start(t))
			w.store.owners, w.theirs.owners = true, true
			for i := range 5 {
				putFor(t, w.theirs, alice, fmt.Sprint("id-", i))
			}
			_, err := w.store.Revoke(t.Context(), bob) // the scripts are known
			require.NoError(t, err)
			sent := 0
			lose := func(err error) error {
				if redis.HasErrorPrefix(err, "NOSCRIPT") {
					return err
				}
				if sent++; sent == step {
					return lost
				}
				return err
			}
			w.hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
				return lose(next(ctx, cmd))
			}
			w.hook.pipeline = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
				err := next(ctx, cmds)
				if loss := lose(cmds[0].Err()); errors.Is(loss, lost) {
					for _, cmd := range cmds {
						cmd.SetErr(lost)
					}
				}
				return err
			}
			ended, err := w.store.Revoke(t.Context(), alice)
			require.NoError(t, err, "step %d, %v", step, lost)
			require.LessOrEqual(t, ended, 5)
			require.Empty(t, owned(t, w.theirs, alice))
			require.GreaterOrEqual(t, sent, step)
		}
	}
}

// TestRevokeWithoutAMaster ends the values on the masters that answer, and says that there may be others.
func TestRevokeWithoutAMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0, redistest.WithConfig("cluster-require-full-coverage no"))
	client := cluster.Client(t, func(o *redis.ClusterOptions) { o.MaxRetries, o.DialerRetries = -1, 1 })
	s := withOwners(client)
	away := slices.IndexFunc(cluster.Nodes, func(n *redistest.Server) bool {
		return n != cluster.Master(t, s.index(hashOf(alice)))
	})
	const n = partSize + 50
	want := 0
	for i := range n {
		id := fmt.Sprint("id-", i)
		putFor(t, s, alice, id)
		if cluster.Master(t, s.key(id)) != cluster.Nodes[away] {
			want++
		}
	}
	cluster.Nodes[away].Kill()
	ended, err := s.Revoke(t.Context(), alice)
	require.Error(t, err)
	require.False(t, isAnswer(err))
	require.Equal(t, want, ended)
	require.Len(t, stamps(t, s, alice), n-want, "the others are still in the index")
}

// TestRevokeWaitsForReplicas has none.
func TestRevokeWaitsForReplicas(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	putFor(t, withOwners(client), alice, testID)
	s := storeOf(Config{
		Client: client, Prefix: testPrefix, TTL: time.Minute, Owners: true, MinReplicas: 1, ReplicaTimeout: time.Millisecond,
	})
	_, err := s.Put(t.Context(), "another", Write{Owner: alice})
	require.ErrorIs(t, err, ErrTooFewReplicas)
	require.Zero(t, client.Exists(t.Context(), s.key("another")).Val(), "it is not even listed safely")
	ended, err := s.Revoke(t.Context(), alice)
	require.ErrorIs(t, err, ErrTooFewReplicas)
	require.Zero(t, ended, "none is known to be gone")
	_, err = s.Peek(t.Context(), testID)
	require.Equal(t, ErrMissing, err)
}

// TestOwnedLeavesIdleTimesAlone lists values, and what is no value.
func TestOwnedLeavesIdleTimesAlone(t *testing.T) {
	t.Parallel()
	m, client, log := embedded.Start(t)
	s := withOwners(client)
	for i := range 3 * partSize {
		putFor(t, s, alice, fmt.Sprint("id-", i))
	}
	require.NoError(t, m.Set(s.key("id-5"), "text"))
	m.Del(s.key("id-6"))
	_, err := m.Lpush(s.key("id-6"), "a list")
	require.NoError(t, err)
	m.FastForward(10 * time.Second)
	owned(t, s, alice)
	log.Take()
	require.Len(t, owned(t, s, alice), 3*partSize-2)
	require.Equal(t, 50*time.Second, m.TTL(s.key("id-7")))
	require.LessOrEqual(t, len(log.Take()), 4+3*partSize, "one look at each")
	for _, err := range s.Owned(t.Context(), alice) {
		require.NoError(t, err)
		break // a reader may stop early
	}
	require.LessOrEqual(t, len(log.Take()), 1+partSize)
	require.Empty(t, owned(t, s, ""))
}
