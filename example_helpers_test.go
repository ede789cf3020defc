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

func ExampleSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	var database session.Storage = session.NewMemoryStorage(time.Hour) // one that does not expire sessions by itself
	fmt.Println(session.Sweep(ctx, database, time.Minute, time.Hour))
	// Output: context deadline exceeded
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
