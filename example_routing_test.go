package session_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// A readiness probe keeps traffic from a replica that cannot reach its Redis: a wrong address, here. Once Redis has
// answered, Ready stays nil, also in an outage, which would take out all replicas at once.
func ExampleRoutingStorage_Ready() {
	addr, stop := startRedis()
	ready := func(addr string) error {
		client := redis.NewClient(&redis.Options{
			Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1, DialTimeout: time.Second,
		})
		defer client.Close()
		sessions := session.NewRoutingStorage(session.NewRedisStorage(client, 30*time.Minute), 10_000)
		defer sessions.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return sessions.Ready(ctx)
	}
	fmt.Println(ready(addr))
	stop()
	fmt.Println(errors.Is(ready(addr), session.ErrUnavailable))
	// Output:
	// <nil>
	// true
}

// A hook that sees each call of the remote, for metrics and traces. Modules for OpenTelemetry and Prometheus have one.
func ExampleWithRemoteHook() {
	hook := func(ctx context.Context, op string) (context.Context, func(error)) {
		return ctx, func(err error) { fmt.Println(op, "has ended with", err) }
	}
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithRemoteHook(hook))
	defer sessions.Close()

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c"))
	_, _ = sessions.Load(ctx, "3f2c") // a hit is no call of the remote
	_, _ = sessions.Load(ctx, "unknown")
	// Output:
	// store has ended with <nil>
	// load has ended with session: load: not found
}

// A client that goes on with the id of a session that has ended costs one round trip per MaxStaleness.
func ExampleWithRememberedMisses() {
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithRememberedMisses(1000))
	defer sessions.Close()
	for sessions.Stats().Mode != session.ModeLeased { // changes are reported, so what is remembered stays right
		time.Sleep(time.Millisecond)
	}

	ctx := context.Background()
	for range 1000 {
		_, _ = sessions.Load(ctx, "3f2c")
	}
	fmt.Println(sessions.Stats().RemoteLoads, "remote load")

	_ = sessions.Create(ctx, session.New("3f2c"))
	_, err := sessions.Load(ctx, "3f2c")
	fmt.Println(err)
	// Output:
	// 1 remote load
	// <nil>
}

// A local tier that is bounded by its memory, too. A session that would take more than an eighth of it is not kept.
func ExampleWithMaxLocalBytes() {
	remote := session.NewMemoryStorage(30 * time.Minute)
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithMaxLocalBytes(4<<20))
	defer sessions.Close()
	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c").WithData(make([]byte, 100_000)))
	_ = sessions.Store(ctx, session.New("77aa").WithData(make([]byte, 600_000)))
	stats := sessions.Stats()
	fmt.Println(stats.Entries, "local session,", stats.TooLarge, "too large,", stats.Bytes < 4<<20)
	// Output: 1 local session, 1 too large, true
}

// The status of an answer tells clients whether their session is over.
func ExampleHTTPStatus() {
	for _, err := range []error{
		nil, session.ErrInvalidID, session.ErrNotFound, session.ErrTooMany, session.ErrUnavailable,
	} {
		fmt.Println(session.HTTPStatus(err))
	}
	// Output:
	// 200
	// 400
	// 404
	// 409
	// 503
}

// To copy a session into another storage, detach it from the one that it came from.
func ExampleSession_Detached() {
	ctx := context.Background()
	before, after := session.NewMemoryStorage(time.Hour), session.NewMemoryStorage(time.Hour)
	_ = before.Store(ctx, session.New("3f2c").With("client", "inspector"))

	s, err := before.Load(ctx, "3f2c")
	if err != nil {
		panic(err)
	}
	fmt.Println(after.Store(ctx, s)) // it has a revision, so it would be a change of what is stored there
	fmt.Println(after.Create(ctx, s.Detached()))
	// Output:
	// session: store: not found
	// <nil>
}
