package session_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

// A stream that keeps its session alive, and ends with it.
func ExampleKeepAlive() {
	sessions := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share
	_ = sessions.Store(context.Background(), session.New("3f2c"))

	stream := func(request context.Context) error {
		ctx, stop := session.KeepAlive(request, sessions, "3f2c")
		defer stop()
		for {
			select {
			case <-time.After(time.Minute): // send the next message
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}

	time.AfterFunc(10*time.Millisecond, func() {
		_ = sessions.Delete(context.Background(), "3f2c") // here, or on any replica
	})
	err := stream(context.Background())
	fmt.Println(err, session.HTTPStatus(err))
	// Output: session: keep alive: not found 404
}
