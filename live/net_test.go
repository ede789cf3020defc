package live

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
)

// backend is a server that sends back each line.
type backend struct {
	network, address string
	accepted, open   atomic.Int64 // connections
}

// startBackend starts a server, which ends with the test.
func startBackend(t *testing.T, network string) *backend {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" { // a connection leaves no port behind
		address = filepath.Join(t.TempDir(), "backend")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	require.NoError(t, err)
	b := &backend{network: network, address: listener.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.accepted.Add(1)
			b.open.Add(1)
			serving.Go(func() {
				defer b.open.Add(-1)
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return b
}

func (b *backend) dial(ctx context.Context, _ *session.Session) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, b.network, b.address)
}

func hangUp(conn net.Conn, _ Reason) { _ = conn.Close() }

// echo reports whether a connection works.
func echo(conn net.Conn) bool {
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}

// TestDeletedOnAnotherReplica ends sessions on one replica, and watches the connections of another one, to which no
// request comes.
func TestDeletedOnAnotherReplica(t *testing.T) {
	server := redistest.Start(t)
	backend := startBackend(t, "tcp")
	replica := func() (session.Storage, *Objects[net.Conn]) {
		st := session.NewRedisStorage(server.Client(t), 10*time.Minute)
		conns := New(st, backend.dial, hangUp)
		t.Cleanup(func() { require.NoError(t, conns.Close()) })
		awaitEvents(t, st, conns)
		return st, conns
	}
	here, _ := replica()
	_, there := replica()

	const rounds = 50
	var slowest time.Duration
	for i := range rounds {
		id := fmt.Sprint("session-", i)
		require.NoError(t, here.Store(t.Context(), session.New(id)))
		ref, err := there.Get(t.Context(), id)
		require.NoError(t, err)
		require.True(t, echo(ref.Object))
		inUse := i%2 == 0
		if !inUse {
			ref.Release()
		}

		require.NoError(t, here.Delete(t.Context(), id))
		deleted := time.Now()
		select {
		case <-ref.Done():
		case <-time.After(realtest.Patience):
			t.Fatal("no event")
		}
		slowest = max(slowest, time.Since(deleted))
		require.Equal(t, Removed, ref.Reason())
		if inUse {
			require.True(t, echo(ref.Object), "it is in use")
			ref.Release()
		}
		realtest.Await(t, "the end of the connection", func() bool { return backend.open.Load() == 0 })
	}
	require.Less(t, slowest, 5*time.Second, "by the event, not by a timer")
	t.Logf("the slowest of %d ends was known %v after Delete had returned", rounds, slowest)
}

// awaitEvents waits until a removal reaches the set as an event.
func awaitEvents(t *testing.T, st session.Storage, conns *Objects[net.Conn]) {
	t.Helper()
	realtest.Await(t, "events to flow", func() bool {
		require.NoError(t, st.Store(t.Context(), session.New("probe")))
		ref, err := conns.Get(t.Context(), "probe")
		require.NoError(t, err)
		ref.Release()
		require.NoError(t, st.Delete(t.Context(), "probe"))
		select {
		case <-ref.Done():
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
}

// TestRedisGoesAway keeps connections through an outage, and looks at their sessions afterwards.
func TestRedisGoesAway(t *testing.T) {
	server := redistest.Start(t)
	backend := startBackend(t, "tcp")
	st := session.NewRedisStorage(server.Client(t), 10*time.Minute)
	peekable := &noted{RedisStorage: st}
	conns := New(peekable, backend.dial, hangUp)
	t.Cleanup(func() { require.NoError(t, conns.Close()) })
	awaitEvents(t, st, conns)
	require.NoError(t, st.Store(t.Context(), session.New("a")))
	ref, err := conns.Get(t.Context(), "a")
	require.NoError(t, err)

	server.Kill()
	_, err = conns.Get(t.Context(), "a")
	require.ErrorIs(t, err, session.ErrUnavailable)
	require.Empty(t, ref.Reason())
	require.True(t, echo(ref.Object))

	before := peekable.peeks.Load()
	server.Restart() // empty: it keeps nothing
	realtest.Await(t, "a look at the session", func() bool { return peekable.peeks.Load() > before })
	select {
	case <-ref.Done():
	case <-time.After(realtest.Patience):
		t.Fatal("the missing session was not noticed")
	}
	require.Equal(t, Removed, ref.Reason())
	ref.Release()
	realtest.Await(t, "the end of the connection", func() bool { return backend.open.Load() == 0 })
}

// noted is a storage that counts looks at sessions.
type noted struct {
	*session.RedisStorage
	peeks atomic.Int64
}

func (n *noted) Peek(ctx context.Context, id string) (*session.Session, error) {
	n.peeks.Add(1)
	return n.Load(ctx, id)
}

// TestConcurrentUsersShareAConnection is the whole way with real connections: many users, one backend connection.
func TestConcurrentUsersShareAConnection(t *testing.T) {
	st := session.NewMemoryStorage(ttl)
	backend := startBackend(t, "tcp")
	conns := New(st, backend.dial, hangUp)
	t.Cleanup(func() { require.NoError(t, conns.Close()) })
	require.NoError(t, st.Store(t.Context(), session.New("a")))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			ref, err := conns.Get(t.Context(), "a")
			if assert.NoError(t, err) {
				ref.Release()
			}
		})
	}
	all.Wait()
	realtest.Await(t, "the connection", func() bool { return backend.accepted.Load() > 0 }) // later than it is dialled
	require.NoError(t, conns.Close())
	realtest.Await(t, "the end of the connection", func() bool { return backend.open.Load() == 0 })
	require.EqualValues(t, 1, backend.accepted.Load())
}
