package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"sync"
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

// Package expvar shows the counts under /debug/vars, as JSON. It serves that on http.DefaultServeMux, together with the
// command line of the process: do not let the public see it.
func ExampleStats() {
	sessions := session.NewRoutingStorage(session.NewMemoryStorage(30*time.Minute), 10_000)
	defer sessions.Close()
	expvar.Publish("sessions", expvar.Func(func() any { return sessions.Stats() }))

	ctx := context.Background()
	_ = sessions.Store(ctx, session.New("3f2c"))
	_, _ = sessions.Load(ctx, "3f2c")
	_, _ = sessions.Load(ctx, "unknown")

	var shown struct {
		Hits        uint64           `json:"hits"`
		Misses      uint64           `json:"misses"`
		FailedLoads session.Failures `json:"failed_loads"`
	}
	if err := json.Unmarshal([]byte(expvar.Get("sessions").String()), &shown); err != nil {
		fmt.Println(err)
	}
	fmt.Println(shown.Hits, "hit,", shown.Misses, "miss,", shown.FailedLoads.NotFound, "not found")
	// Output: 1 hit, 1 miss, 1 not found
}
