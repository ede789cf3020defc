package session_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mocks"
	"github.com/seed34611480/session/sessiontest"
)

// The conformance suite, over each storage of this package and their compositions.

const (
	conformanceTTL       = time.Minute
	conformanceStaleness = 20 * time.Millisecond
)

func TestMemoryStorageConforms(t *testing.T) {
	t.Parallel()
	sessiontest.RunInBubble(t, memorySubject)
}

func TestRoutingStorageOverMemoryConforms(t *testing.T) {
	t.Parallel()
	sessiontest.RunInBubble(t, routed(memorySubject))
}

// TestLimitedMemoryStorageConforms: limits change nothing for those who stay below them.
func TestLimitedMemoryStorageConforms(t *testing.T) { //nolint:tparallel // a bubble cannot be parallel
	t.Parallel()
	for name, over := range map[string]session.OwnerPolicy{"refuse": session.RefuseNew, "end": session.EndIdlest} {
		subject := func(*testing.T) sessiontest.Subject {
			const limit = 50
			m := session.NewMemoryStorage(conformanceTTL,
				session.WithMaxLifetime(1000*time.Hour), session.WithOwnerLimit(limit, over))
			return sessiontest.Subject{Storage: m, Peer: m, TTL: conformanceTTL, OwnerLimit: limit, OverLimit: over}
		}
		t.Run(name, func(t *testing.T) { sessiontest.RunInBubble(t, subject) })
		t.Run(name+", Routing", func(t *testing.T) { sessiontest.RunInBubble(t, routed(subject)) })
	}
}

func TestRedisStorageOnMiniredisConforms(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, miniredisSubject)
}

func TestLimitedRedisStorageConforms(t *testing.T) {
	t.Parallel()
	for name, over := range map[string]session.OwnerPolicy{"refuse": session.RefuseNew, "end": session.EndIdlest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = 50
			subject := redisSubject(redistest.Start(t),
				session.WithOwnerLimit(limit, over), session.WithMaxLifetime(1000*time.Hour))
			sessiontest.Run(t, func(t *testing.T) sessiontest.Subject {
				s := subject(t)
				s.OwnerLimit, s.OverLimit = limit, over
				return s
			})
		})
	}
}

func TestRoutingStorageOverMiniredisConforms(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, routed(miniredisSubject))
}

func TestSealedAndHashedStorageConforms(t *testing.T) { //nolint:tparallel // cases share the server
	t.Parallel()
	secret := sha256.Sum256([]byte("secret"))
	ring, err := session.NewKeyRing(session.Key{ID: "a", Secret: secret[:]})
	require.NoError(t, err)
	opts := []session.RedisOption{
		session.WithHashedIDs(), session.WithCodec(session.NewSealedCodec(ring, session.JSONCodec{})),
	}
	subject := underHashes(redisSubject(redistest.Start(t), opts...))
	t.Run("Redis", func(t *testing.T) { sessiontest.Run(t, subject) })
	t.Run("Routing", func(t *testing.T) { sessiontest.Run(t, routed(subject)) })
	t.Run("Cluster", func(t *testing.T) {
		sessiontest.Run(t, underHashes(clusterSubject(redistest.StartCluster(t, 3, 0), opts...)))
	})
}

// underHashes has a subject find its values under the hashes of their ids.
func underHashes(factory func(t *testing.T) sessiontest.Subject) func(t *testing.T) sessiontest.Subject {
	hash := func(id string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(id))) }
	return func(t *testing.T) sessiontest.Subject {
		subject := factory(t)
		raw, plant := subject.Raw, subject.Plant
		subject.Raw = func(id string) []byte { return raw(hash(id)) }
		subject.Plant = func(id string, value []byte) { plant(hash(id), value) }
		return subject
	}
}

func TestRedisStorageOnRedisConforms(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, redisSubject(redistest.Start(t)))
}

func TestRoutingStorageOverRedisConforms(t *testing.T) {
	t.Parallel()
	sessiontest.Run(t, routed(redisSubject(redistest.Start(t))))
}

func TestRedisStorageOnClusterConforms(t *testing.T) { //nolint:tparallel // cases share the servers
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	subject := clusterSubject(cluster)
	t.Run("Redis", func(t *testing.T) { sessiontest.Run(t, subject) })
	t.Run("Routing", func(t *testing.T) { sessiontest.Run(t, routed(subject)) })
}

func TestRedisStorageViaSentinelConforms(t *testing.T) { //nolint:tparallel // cases share the servers
	t.Parallel()
	subject := sentinelSubject(redistest.StartSentinel(t))
	t.Run("Redis", func(t *testing.T) { sessiontest.Run(t, subject) })
	t.Run("Routing", func(t *testing.T) { sessiontest.Run(t, routed(subject)) })
}

// TestRoutingStorageWithBoundsConforms: what is remembered or makes room changes no answer.
func TestRoutingStorageWithBoundsConforms(t *testing.T) {
	t.Parallel()
	sessiontest.RunInBubble(t, routed(memorySubject, session.WithRememberedMisses(8), session.WithMaxLocalBytes(4<<10)))
}

func memorySubject(*testing.T) sessiontest.Subject {
	m := session.NewMemoryStorage(conformanceTTL)
	return sessiontest.Subject{Storage: m, Peer: m, TTL: conformanceTTL}
}

// miniredisSubject has no index of owners.
func miniredisSubject(t *testing.T) sessiontest.Subject {
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	subject := subjectOn(client)
	subject.Advance = m.FastForward
	subject.Cut = m.Close
	return subject
}

// redisSubject uses one server for all cases, emptied before each.
func redisSubject(server *redistest.Server, opts ...session.RedisOption) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		client := server.Client(t, func(o *redis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 })
		require.NoError(t, client.FlushAll(t.Context()).Err())
		subject := subjectOn(client, append(opts, session.WithOwnerIndex())...)
		subject.Advance = func(d time.Duration) { server.Shift(t, d) }
		subject.Cut = func() {
			server.Stop()
			t.Cleanup(server.Restart)
		}
		return subject
	}
}

func clusterSubject(cluster *redistest.Cluster, opts ...session.RedisOption) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		var d cuttableDialer
		client := realtest.ClusterClient(t, cluster, func(o *redis.ClusterOptions) { o.Dialer = d.dial })
		require.NoError(t, client.ForEachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error {
			return master.FlushAll(ctx).Err()
		}))
		subject := subjectOn(client, append(opts, session.WithOwnerIndex())...)
		subject.Advance = func(by time.Duration) { cluster.Shift(t, by) }
		subject.Cut = d.cut
		return subject
	}
}

func sentinelSubject(sentinel *redistest.Sentinel) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		var d cuttableDialer
		client := realtest.SentinelClient(t, sentinel, func(o *redis.FailoverOptions) { o.Dialer = d.dial })
		require.NoError(t, client.FlushAll(t.Context()).Err())
		subject := subjectOn(client, session.WithOwnerIndex())
		subject.Advance = func(by time.Duration) { sentinel.Shift(t, by) }
		subject.Cut = d.cut
		return subject
	}
}

func subjectOn(client redis.UniversalClient, opts ...session.RedisOption) sessiontest.Subject {
	st := session.NewRedisStorage(client, conformanceTTL, opts...)
	return sessiontest.Subject{
		Storage: st,
		Peer:    st,
		TTL:     conformanceTTL,
		Raw: func(id string) []byte {
			value, _ := client.Get(context.Background(), realtest.KeyOf(id)).Bytes()
			return value
		},
		Plant: func(id string, value []byte) {
			client.Set(context.Background(), realtest.KeyOf(id), value, conformanceTTL)
		},
	}
}

// routed puts two replicas, each with its own local tier, over the storage of a subject.
func routed(
	factory func(t *testing.T) sessiontest.Subject, opts ...session.RoutingOption,
) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		subject := factory(t)
		replica := func() *session.RoutingStorage {
			st := session.NewRoutingStorage(subject.Storage, 8,
				append(opts, session.WithMaxStaleness(conformanceStaleness))...)
			t.Cleanup(func() { require.NoError(t, st.Close()) })
			return st
		}
		a, b := replica(), replica()
		subject.Storage, subject.Peer, subject.Staleness = a, b, conformanceStaleness
		if advance := subject.Advance; advance != nil {
			subject.Advance = func(d time.Duration) {
				a.Age(d)
				b.Age(d)
				advance(d)
			}
		}
		return subject
	}
}

// cuttableDialer dials for one client, and can cut its connections to all servers. The servers keep running for the
// next subject, which has a dialer of its own.
type cuttableDialer struct {
	mu    sync.Mutex // protects following fields
	isCut bool
	conns []net.Conn
}

func (d *cuttableDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isCut {
		return nil, errors.New("the connections are cut")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		d.conns = append(d.conns, conn)
	}
	return conn, err
}

func (d *cuttableDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.isCut = true
	for _, conn := range d.conns {
		_ = conn.Close()
	}
}

// These tests use the generated mock as a remote that has the four methods of Storage and nothing else.

const testID = "3DQ7JZ2N5W"

func TestSessionOfAnotherIDIsRefused(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	remote.EXPECT().Load(mock.Anything, testID).Return(session.New("another"), nil).Once()
	remote.EXPECT().Load(mock.Anything, testID).Return(nil, nil).Once()
	st := session.NewRoutingStorage(remote, 10)
	defer func() { require.NoError(t, st.Close()) }()
	for range 2 {
		_, err := st.Load(t.Context(), testID)
		require.ErrorIs(t, err, session.ErrCorrupt)
	}
	require.Zero(t, st.Stats().Entries)
}

func TestDeleteExpiredIsDelegated(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	before := time.Now()
	remote.EXPECT().DeleteExpired(mock.Anything, before).Return(nil).Once()
	remote.EXPECT().DeleteExpired(mock.Anything, before).Return(errors.New("connection refused")).Once()
	st := session.NewRoutingStorage(remote, 10)
	require.NoError(t, st.DeleteExpired(t.Context(), before))
	require.ErrorIs(t, st.DeleteExpired(t.Context(), before), session.ErrUnavailable)
	require.NoError(t, st.Close())
	require.ErrorIs(t, st.DeleteExpired(t.Context(), before), session.ErrClosed)
}

func TestRemoteWithoutCapabilities(t *testing.T) {
	t.Parallel()
	st := session.NewRoutingStorage(mocks.NewStorage(t), 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.ErrorIs(t, st.Create(t.Context(), session.New(testID)), errors.ErrUnsupported)
	_, err := st.Take(t.Context(), testID)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestRemoteThatPanicsInAWrite(t *testing.T) {
	t.Parallel()
	remote := mocks.NewStorage(t)
	remote.EXPECT().Store(mock.Anything, mock.Anything).RunAndReturn(func(context.Context, *session.Session) error {
		panic("a bug")
	})
	st := session.NewRoutingStorage(remote, 10)
	require.Panics(t, func() { _ = st.Store(t.Context(), session.New(testID)) })
	require.NoError(t, st.Close(), "and nothing is locked")
}

func TestCloseEndsCallsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := mocks.NewStorage(t)
		remote.EXPECT().Load(mock.Anything, testID).RunAndReturn(
			func(ctx context.Context, _ string) (*session.Session, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		st := session.NewRoutingStorage(remote, 10, session.WithLoadTimeout(time.Hour))
		loaded, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := st.Load(t.Context(), testID)
			loaded <- err
		}()
		synctest.Wait()
		start := time.Now()
		go func() { closed <- st.Close() }()
		require.NoError(t, st.Close())
		require.NoError(t, <-closed)
		require.ErrorIs(t, <-loaded, session.ErrClosed)
		require.Zero(t, time.Since(start))
		_, err := st.Load(t.Context(), testID)
		require.ErrorIs(t, err, session.ErrClosed)
	})
}

// TestMain checks that every goroutine that this package starts ends with a Close or a context.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }
