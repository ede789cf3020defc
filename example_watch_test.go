package session_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed34611480/session"
)

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
