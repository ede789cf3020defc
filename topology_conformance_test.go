package session_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/sessiontest"
)

func TestRedisStorageOnClusterConforms(t *testing.T) { //nolint:tparallel // cases share the servers
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, 0)
	subject := clusterSubject(cluster)
	t.Run("Redis", func(t *testing.T) { sessiontest.Run(t, subject) })
	t.Run("Routing", func(t *testing.T) { sessiontest.Run(t, routed(subject)) })
	t.Run("a client of one node revalidates nothing", func(t *testing.T) {
		st := session.NewRedisStorage(cluster.Nodes[0].Client(t), time.Minute)
		_, err := st.Revalidate(t.Context(), []*session.Session{session.New("one-slot"), session.New("another-slot")})
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

func TestRedisStorageViaSentinelConforms(t *testing.T) { //nolint:tparallel // cases share the servers
	t.Parallel()
	subject := sentinelSubject(redistest.StartSentinel(t))
	t.Run("Redis", func(t *testing.T) { sessiontest.Run(t, subject) })
	t.Run("Routing", func(t *testing.T) { sessiontest.Run(t, routed(subject)) })
}

func clusterSubject(cluster *redistest.Cluster) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		var l line
		client := clusterClient(t, cluster, func(o *redis.ClusterOptions) { o.Dialer = l.dial })
		require.NoError(t, client.ForEachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error {
			return master.FlushAll(ctx).Err()
		}))
		subject := subjectOn(client)
		subject.Advance = func(d time.Duration) { cluster.Shift(t, d) }
		subject.Cut = l.cut
		return subject
	}
}

func sentinelSubject(sentinel *redistest.Sentinel) func(t *testing.T) sessiontest.Subject {
	return func(t *testing.T) sessiontest.Subject {
		var l line
		client := sentinelClient(t, sentinel, func(o *redis.FailoverOptions) { o.Dialer = l.dial })
		require.NoError(t, client.FlushAll(t.Context()).Err())
		subject := subjectOn(client)
		subject.Advance = func(d time.Duration) { sentinel.Shift(t, d) }
		subject.Cut = l.cut
		return subject
	}
}

// line is the way from one client to all servers. The next subject has another, and so finds them running.
type line struct {
	mu    sync.Mutex // protects following fields
	isCut bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		return nil, errors.New("the line is cut")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}
