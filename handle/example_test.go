package handle_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
)

// A basket that one tool creates and another one fills, on whatever replica.
func Example() {
	type Basket struct {
		Items []string `json:"items"`
	}
	storage := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share
	baskets := handle.New[Basket](storage, "basket", handle.WithMaxLifetime(24*time.Hour))

	ctx := context.Background()
	alice := session.Principal("https://issuer.example", "alice") // of the verified token of this request

	// The tool create_basket:
	h, err := baskets.Mint(ctx, alice, Basket{})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The tool add_item(basket, item):
	basket, err := baskets.For(alice).Update(ctx, h, func(b *Basket) error {
		b.Items = append(b.Items, "shoes")
		return nil
	})
	fmt.Println(basket.Items, err)

	// The same call by another user, who has found the handle in a chat log:
	mallory := session.Principal("https://issuer.example", "mallory")
	_, err = baskets.Load(ctx, mallory, h)
	fmt.Println(errors.Is(err, session.ErrNotFound))

	// The tool checkout(basket), which must not run twice:
	basket, err = baskets.Take(ctx, alice, h)
	fmt.Println(basket.Items, err)
	_, err = baskets.Take(ctx, alice, h)
	fmt.Println(err)
	// Output:
	// [shoes] <nil>
	// true
	// [shoes] <nil>
	// session: take: not found
}
