package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// startRedis stands for the Redis of a real deployment.
func startRedis() (addr string, stop func()) {
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		panic(err)
	}
	return m.Addr(), m.Close
}

func Example() {
	addr, stop := startRedis()
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	defer client.Close()

	sessions := session.NewRoutingStorage(session.NewRedisStorage(client, 30*time.Minute), 10_000)
	defer sessions.Close()

	ctx := context.Background()
	s := session.New(session.NewID()).
		WithType(session.TypeStreamable).
		With("backend_url", "http://10.0.0.7:8080/mcp")
	if err := sessions.Create(ctx, s); err != nil {
		fmt.Println(err)
		return
	}

	loaded, err := sessions.Load(ctx, s.ID()) // no round trip
	switch {
	case errors.Is(err, session.ErrNotFound):
		fmt.Println(http.StatusNotFound) // the client starts a new session
	case err != nil:
		fmt.Println(http.StatusServiceUnavailable) // the client keeps its session and tries again
	default:
		backend, _ := loaded.Get("backend_url")
		fmt.Println(backend)
	}
	// Output: http://10.0.0.7:8080/mcp
}

func ExampleNew() {
	s := session.New("3f2c").
		WithPrincipal("https://issuer.example|user-1").
		With("client", "inspector").
		With("backend_url", "http://10.0.0.7:8080/mcp").
		WithData([]byte(`{"theme":"dark"}`))
	for key, value := range s.Metadata() {
		fmt.Println(key, "=", value)
	}
	var settings struct{ Theme string }
	if err := s.Decode(&settings); err != nil {
		fmt.Println(err)
	}
	fmt.Println(settings.Theme)
	fmt.Println(s) // shows no id
	// Output:
	// backend_url = http://10.0.0.7:8080/mcp
	// client = inspector
	// dark
	// session.Session{type: , revision: 0}
}

func ExampleNewMemoryStorage() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(30*time.Minute, session.WithMaxSize(64<<10))
	if err := sessions.Store(ctx, session.New("3f2c").With("client", "inspector")); err != nil {
		fmt.Println(err)
	}
	mine, _ := sessions.Load(ctx, "3f2c")
	theirs, _ := sessions.Load(ctx, "3f2c")

	fmt.Println(sessions.Store(ctx, theirs.With("step", "1")))
	fmt.Println(sessions.Store(ctx, mine.With("step", "2")))
	fmt.Println(sessions.Delete(ctx, "3f2c"))
	fmt.Println(sessions.Store(ctx, theirs.With("step", "3")))
	// Output:
	// <nil>
	// session: store: changed by another writer
	// <nil>
	// session: store: not found
}

func ExampleNewRedisStorage() {
	addr, stop := startRedis()
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	defer client.Close()

	ctx := context.Background()
	tickets := session.NewRedisStorage(client, time.Minute, session.WithKeyPrefix("ticket:"))
	fmt.Println(tickets.Create(ctx, session.New("one-time").With("grants", "entry")))
	fmt.Println(tickets.Create(ctx, session.New("one-time")))
	ticket, err := tickets.Take(ctx, "one-time")
	fmt.Println(ticket.Get("grants"))
	fmt.Println(err)
	_, err = tickets.Take(ctx, "one-time")
	fmt.Println(err)
	// Output:
	// <nil>
	// session: create: already exists
	// entry true
	// <nil>
	// session: take: not found
}

func ExampleNewRoutingStorage() {
	ctx := context.Background()
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithMaxStaleness(time.Second))
	defer sessions.Close()

	_ = sessions.Store(ctx, session.New("3f2c"))
	for range 1000 {
		_, _ = sessions.Load(ctx, "3f2c")
	}
	stats := sessions.Stats()
	fmt.Println(stats.Hits, "hits,", stats.RemoteLoads, "remote loads")
	// Output: 1000 hits, 0 remote loads
}
