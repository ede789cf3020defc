package session_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

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

func ExampleLoadOwned() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(time.Hour)
	_ = sessions.Store(ctx, session.New("3f2c").WithPrincipal("https://issuer.example|user-1"))
	_, err := session.LoadOwned(ctx, sessions, "3f2c", "https://issuer.example|user-2")
	fmt.Println(err)
	// Output: session: load owned: not found
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
