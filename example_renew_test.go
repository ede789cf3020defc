package session_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

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
