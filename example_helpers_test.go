package session_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

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
