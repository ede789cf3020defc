package mcptest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/mcphttp"
)

// legacyClients are those that have sessions.
var legacyClients = []string{"go-sdk legacy", "mcp-go legacy"}

// eachPair runs a test with each legacy client and each server.
func eachPair(t *testing.T, test func(t *testing.T, b *backend, connect func(url string) (client, error))) {
	for server, newServer := range newBackend {
		for _, name := range legacyClients {
			t.Run(server+", "+name, func(t *testing.T) {
				test(t, newServer(t), func(url string) (client, error) {
					ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
					defer cancel()
					return connect[name](ctx, t, url)
				})
			})
		}
	}
}

// awayStorage is a MemoryStorage that can be away.
type awayStorage struct {
	*session.MemoryStorage

	away atomic.Bool
}

func (a *awayStorage) Create(ctx context.Context, s *session.Session) error {
	if a.away.Load() {
		return session.ErrUnavailable
	}
	return a.MemoryStorage.Create(ctx, s)
}

func (a *awayStorage) Load(ctx context.Context, id string) (*session.Session, error) {
	if a.away.Load() {
		return nil, session.ErrUnavailable
	}
	return a.MemoryStorage.Load(ctx, id)
}

// A session that could not be stored is left in no server.
func TestStorageIsAwayAtTheBeginning(t *testing.T) {
	eachPair(t, func(t *testing.T, b *backend, connect func(string) (client, error)) {
		st := &awayStorage{MemoryStorage: session.NewMemoryStorage(time.Minute)}
		url := serve(t, mcphttp.NewSessions(st, b.legacy))
		st.away.Store(true)
		_, err := connect(url)
		require.Error(t, err)
		realtest.Await(t, "the end of the session", func() bool { return b.sessions() == 0 })

		st.away.Store(false)
		c, err := connect(url)
		require.NoError(t, err)
		got, err := c.call(t.Context(), "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", got)
		require.Equal(t, 1, b.sessions())
	})
}

// An outage costs calls, not sessions.
func TestSessionsOutliveAnOutage(t *testing.T) {
	eachPair(t, func(t *testing.T, b *backend, connect func(string) (client, error)) {
		st := &awayStorage{MemoryStorage: session.NewMemoryStorage(time.Minute)}
		c, err := connect(serve(t, mcphttp.NewSessions(st, b.legacy)))
		require.NoError(t, err)
		id := c.sessionID()
		st.away.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
		defer cancel()
		_, err = c.call(ctx, "hello")
		require.Error(t, err)
		st.away.Store(false)
		got, err := c.call(ctx, "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", got)
		require.Equal(t, id, c.sessionID())
	})
}

// TestSessionEndsOnAnotherReplica deletes a session through another replica's storage, while its client listens to a
// stream and waits for a call.
func TestSessionEndsOnAnotherReplica(t *testing.T) {
	redis := redistest.Start(t)
	replica := func() session.Storage {
		st := session.NewRoutingStorage(session.NewRedisStorage(redis.Client(t), time.Minute), 100)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		return st
	}
	here, there := replica(), replica()
	eachPair(t, func(t *testing.T, b *backend, connect func(string) (client, error)) {
		c, err := connect(serve(t, mcphttp.NewSessions(here, b.legacy)))
		require.NoError(t, err)
		called := make(chan error, 1)
		go func() {
			_, err := c.call(t.Context(), "wait")
			called <- err
		}()
		realtest.Await(t, "the call", func() bool { return b.waiting.Load() == 1 })
		id := c.sessionID()
		require.NoError(t, there.Delete(t.Context(), id))

		select {
		case err := <-called:
			require.Error(t, err)
		case <-time.After(realtest.Patience):
			t.Fatal("the client waits for a session that is gone")
		}
		_, err = c.call(t.Context(), "hello")
		require.Error(t, err)
		if _, ok := c.(goSDKClient); ok {
			require.ErrorContains(t, err, mcp.ErrSessionMissing.Error(), "the client is to begin anew")
		}
		b.end() // mcp-go has cancelled the call; go-sdk has not
		realtest.Await(t, "the end of the call", func() bool { return b.waiting.Load() == 0 })
		realtest.Await(t, "the end of the session in the server", func() bool { return b.sessions() == 0 })
	})
}

// TestShutdownOfAReplica has two replicas with one server behind them. Shutdown returns although a client has a stream,
// and its session goes on through the other replica.
func TestShutdownOfAReplica(t *testing.T) {
	eachPair(t, func(t *testing.T, b *backend, connect func(string) (client, error)) {
		st := session.NewMemoryStorage(time.Minute)
		first := mcphttp.NewSessions(st, b.legacy, mcphttp.WithGrace(50*time.Millisecond))
		second := mcphttp.NewSessions(st, b.legacy)
		var behind atomic.Pointer[mcphttp.Sessions]
		behind.Store(first)
		balancer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { behind.Load().ServeHTTP(w, r) })
		c, err := connect(serve(t, balancer))
		require.NoError(t, err)
		id := c.sessionID()
		called := make(chan error, 1)
		go func() {
			_, err := c.call(t.Context(), "wait")
			called <- err
		}()
		realtest.Await(t, "the call", func() bool { return b.waiting.Load() == 1 })

		behind.Store(second)
		ctx, cancel := context.WithTimeout(t.Context(), realtest.Patience)
		defer cancel()
		require.NoError(t, first.Shutdown(ctx))
		select {
		case err := <-called:
			require.Error(t, err)
		case <-ctx.Done():
			t.Fatal("the client waits for a replica that is gone")
		}
		got, err := c.call(ctx, "hello")
		require.NoError(t, err)
		require.Equal(t, "hello", got)
		require.Equal(t, id, c.sessionID())
	})
}

// mcp-go takes a body that it could not read for malformed JSON.
func TestLargeBodies(t *testing.T) {
	for server, newServer := range newBackend {
		b := newServer(t)
		handler := mcphttp.NewSessions(session.NewMemoryStorage(time.Minute), b.legacy, mcphttp.WithMaxBody(1000))
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"x":"`+strings.Repeat("x", 1000)+`"}`))
		r.ContentLength = -1
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, http.StatusRequestEntityTooLarge, w.Code, server)
	}
}

// A session of another user does not exist, whatever the server thinks of it.
func TestOwnersOfSessions(t *testing.T) {
	eachPair(t, func(t *testing.T, b *backend, connect func(string) (client, error)) {
		user := "ann"
		handler := mcphttp.NewSessions(session.NewMemoryStorage(time.Minute), b.legacy,
			mcphttp.WithOwner(func(*http.Request) (string, error) {
				if user == "" {
					return "", errors.New("no token")
				}
				return user, nil
			}))
		c, err := connect(serve(t, handler))
		require.NoError(t, err)
		ask := func(method string) int {
			r := httptest.NewRequest(method, "/", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/json, text/event-stream")
			r.Header.Set("Mcp-Session-Id", c.sessionID())
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, http.StatusOK, ask(http.MethodPost))
		for other, status := range map[string]int{"bob": http.StatusNotFound, "": http.StatusUnauthorized} {
			user = other
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				require.Equal(t, status, ask(method))
			}
		}
		user = "ann"
		require.Equal(t, http.StatusOK, ask(http.MethodPost))
	})
}
