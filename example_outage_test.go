package session_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// Where an older answer is better than none, the last known state of sessions is served while Redis is away.
func ExampleWithStaleIfError() {
	addr, stop := startRedis()
	client := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1, DialTimeout: time.Second,
	})
	defer client.Close()
	sessions := session.NewRoutingStorage(session.NewRedisStorage(client, 30*time.Minute), 10_000,
		session.WithMaxStaleness(100*time.Millisecond), session.WithStaleIfError(10*time.Minute))
	defer sessions.Close()
	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c").With("client", "inspector"))

	stop()                             // Redis is away,
	time.Sleep(200 * time.Millisecond) // for longer than MaxStaleness
	s, err := sessions.Load(ctx, "3f2c")
	fmt.Println(s.Get("client"))
	fmt.Println(err, sessions.Stats().Mode)
	_, err = sessions.Load(ctx, "77aa") // of which nothing is known
	fmt.Println(errors.Is(err, session.ErrUnavailable))
	// Output:
	// inspector true
	// <nil> stale-if-error
	// true
}

// A write is acknowledged when a replica of Redis has it, so that a failover to that loses none.
func ExampleWithMinReplicas() {
	addr, stop := startRedis() // without a replica
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	defer client.Close()
	sessions := session.NewRedisStorage(client, 30*time.Minute, session.WithMinReplicas(1, 100*time.Millisecond))
	fmt.Println(sessions.Store(context.Background(), session.New("3f2c")))
	// Output: session: store: storage unavailable: too few replicas have the write
}
