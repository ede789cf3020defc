package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
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

func ExampleRoutingStorage_LoadFresh() {
	ctx := context.Background()
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000)
	defer sessions.Close()
	_ = sessions.Store(ctx, session.New("3f2c").With("role", "admin"))

	_ = remote.Delete(ctx, "3f2c") // by another replica, just now

	// Before something that must not be done for a session that has ended.
	_, err := sessions.LoadFresh(ctx, "3f2c")
	fmt.Println(err)
	// Output: session: load: not found
}

func ExampleRoutingStorage_Peek() {
	ctx := context.Background()
	sessions := session.NewRoutingStorage(session.NewMemoryStorage(30*time.Minute), 10_000)
	defer sessions.Close()
	_ = sessions.Store(ctx, session.New("3f2c").With("client", "inspector"))

	// The list of an administrator keeps no session alive.
	for _, id := range []string{"3f2c", "77aa"} {
		s, err := sessions.Peek(ctx, id)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(s.Get("client"))
	}
	// Output:
	// inspector true
	// session: peek: not found
}

func ExampleRoutingStorage_Watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000)
	defer sessions.Close()

	watching, ended := make(chan struct{}), make(chan string, 1)
	var first sync.Once
	go func() {
		_ = sessions.Watch(ctx, time.Second, func(e session.Event) { // does not block
			switch e := e.(type) {
			case session.Alive: // events flow, and none is missing
				first.Do(func() { close(watching) })
			case session.Removed: // end its streams
				ended <- e.ID
			case session.Gap: // events may be missing: look at all that is open
			}
		})
	}()
	<-watching
	_ = remote.Delete(ctx, "3f2c") // by any replica
	fmt.Println(<-ended)
	// Output: 3f2c
}

func ExampleCreate() {
	ctx := context.Background()
	var sessions session.Storage = session.NewMemoryStorage(30 * time.Minute)
	fmt.Println(session.Create(ctx, sessions, session.New("3f2c")))
	fmt.Println(session.Create(ctx, sessions, session.New("3f2c")))
	fmt.Println(session.Create(ctx, struct{ session.Storage }{sessions}, session.New("77aa")))
	// Output:
	// <nil>
	// session: create: already exists
	// session: create: unsupported operation: the storage, a struct { session.Storage }, is not a Creator
}

func ExampleTake() {
	ctx := context.Background()
	var tickets session.Storage = session.NewMemoryStorage(time.Minute)
	_ = tickets.Store(ctx, session.New("one-time").With("grants", "entry"))
	ticket, err := session.Take(ctx, tickets, "one-time")
	fmt.Println(ticket.Get("grants"))
	fmt.Println(err)
	_, err = session.Take(ctx, tickets, "one-time")
	fmt.Println(err)
	// Output:
	// entry true
	// <nil>
	// session: take: not found
}

func ExampleUpdate() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(time.Hour)
	_ = sessions.Store(ctx, session.New("3f2c"))
	s, err := session.Update(ctx, sessions, "3f2c", func(s *session.Session) (*session.Session, error) {
		return s.With("seen", "yes"), nil // called again if another writer was faster
	})
	fmt.Println(s.Get("seen"))
	fmt.Println(err)
	// Output:
	// yes true
	// <nil>
}

func ExampleLoadOwned() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(time.Hour)
	_ = sessions.Store(ctx, session.New("3f2c").WithPrincipal("https://issuer.example|user-1"))
	_, err := session.LoadOwned(ctx, sessions, "3f2c", "https://issuer.example|user-2")
	fmt.Println(err)
	// Output: session: load owned: not found
}

func ExampleRenew() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(time.Hour)
	before := session.New("known-to-an-attacker")
	_ = sessions.Store(ctx, before)

	after, err := session.Renew(ctx, sessions, before.WithPrincipal("https://issuer.example|user-1"))
	fmt.Println(after.Principal(), err)
	_, err = sessions.Load(ctx, before.ID())
	fmt.Println(err)
	// Output:
	// https://issuer.example|user-1 <nil>
	// session: load: not found
}

func ExampleSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	var database session.Storage = session.NewMemoryStorage(time.Hour) // one that does not expire sessions by itself
	fmt.Println(session.Sweep(ctx, database, time.Minute, time.Hour))
	// Output: context deadline exceeded
}

// A session ends for all replicas before the logout is answered.
func ExampleRoutingStorage_Fence() {
	ctx := context.Background()
	shared := session.NewMemoryStorage(30 * time.Minute)
	a := session.NewRoutingStorage(shared, 1000, session.WithFencing())
	defer a.Close()
	b := session.NewRoutingStorage(shared, 1000, session.WithFencing())
	defer b.Close()

	if err := a.Store(ctx, session.New("3DQ7JZ2N5W")); err != nil {
		panic(err)
	}
	if _, err := b.Load(ctx, "3DQ7JZ2N5W"); err != nil { // b has a copy now
		panic(err)
	}
	if err := a.Delete(ctx, "3DQ7JZ2N5W"); err != nil {
		panic(err)
	}
	if err := a.Fence(ctx); err != nil { // ctx has ended: other replicas may serve it for up to MaxStaleness
		panic(err)
	}
	_, err := b.Load(ctx, "3DQ7JZ2N5W")
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output: true
}

// An account page that lists where a user is logged in, and logs the user out everywhere.
func ExampleRoutingStorage_Revoke() {
	ctx := context.Background()
	sessions := session.NewRoutingStorage(session.NewMemoryStorage(30*time.Minute), 10_000)
	defer sessions.Close()
	alice := session.Principal("https://issuer.example", "alice")
	for _, client := range []string{"laptop", "phone"} {
		if err := sessions.Store(ctx, session.New(session.NewID()).WithPrincipal(alice).With("client", client)); err != nil {
			panic(err)
		}
	}

	for s, err := range sessions.Sessions(ctx, alice) {
		if err != nil {
			panic(err) // some may be missing
		}
		fmt.Println(s.Get("client"))
	}
	n, err := sessions.Revoke(ctx, alice)
	if err != nil {
		panic(err) // some may live on: call it again
	}
	fmt.Println(n, "sessions have ended")
	// Unordered output:
	// laptop true
	// phone true
	// 2 sessions have ended
}

// "Remember me" lives for a month without a use, an administrator's session for five minutes, and neither for longer
// than 90 days.
func ExampleSession_WithIdleTimeout() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(30*time.Minute, session.WithMaxLifetime(90*24*time.Hour))
	remembered := session.New(session.NewID()).WithIdleTimeout(30 * 24 * time.Hour)
	admin := session.New(session.NewID()).WithIdleTimeout(5 * time.Minute)
	end := time.Now().Add(48 * time.Hour)
	export := session.New(session.NewID()).WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(end) // polled, or not
	for _, s := range []*session.Session{remembered, admin, export} {
		if err := sessions.Store(ctx, s); err != nil {
			panic(err)
		}
		loaded, err := sessions.Load(ctx, s.ID())
		if err != nil {
			panic(err)
		}
		fmt.Println(loaded.IdleTimeout(), loaded.ExpiresAt().Sub(loaded.CreatedAt()).Round(time.Hour))
	}
	// Output:
	// 720h0m0s 2160h0m0s
	// 5m0s 2160h0m0s
	// -1ns 48h0m0s
}

func ExampleWithOwnerLimit() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(time.Hour, session.WithOwnerLimit(2, session.RefuseNew))
	alice := session.Principal("https://issuer.example", "alice")
	for range 3 {
		fmt.Println(sessions.Store(ctx, session.New(session.NewID()).WithPrincipal(alice)))
	}
	// Output:
	// <nil>
	// <nil>
	// session: store: too many sessions of one owner
}

func ExamplePrincipal() {
	fmt.Println(session.Principal("https://issuer.example", "user-1"))
	// A subject that tries to look like another issuer's user.
	fmt.Println(session.Principal("https://a.example", "x y"))
	fmt.Println(session.Principal("https://a.example x", "y"))
	// Output:
	// https://issuer.example user-1
	// https://a.example x%20y
	// https://a.example%20x y
}

// An anonymous session becomes that of a user who has signed in: in another storage, under an id of the caller's
// choice.
func ExampleRenewTo() {
	ctx := context.Background()
	anonymous := session.NewMemoryStorage(10 * time.Minute)
	signedIn := session.NewMemoryStorage(12 * time.Hour)
	before := session.New("known-to-an-attacker").With("cart", "full")
	_ = anonymous.Store(ctx, before)

	alice := before.WithPrincipal(session.Principal("https://issuer.example", "alice"))
	after, err := session.RenewTo(ctx, anonymous, alice, signedIn, "9f2c")
	if err != nil {
		panic(err) // ErrExists: nothing has happened; ErrUnavailable: the user has to sign in again
	}
	fmt.Println(after.ID(), after.Principal())
	fmt.Println(after.Get("cart"))
	_, err = anonymous.Load(ctx, before.ID())
	fmt.Println(err)
	// Output:
	// 9f2c https://issuer.example alice
	// full true
	// session: load: not found
}
