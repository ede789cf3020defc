package session_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

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
