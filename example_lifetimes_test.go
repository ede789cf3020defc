package session_test

import (
	"context"
	"fmt"
	"time"

	"github.com/seed34611480/session"
)

// "Remember me" lives for a month without a use, an administrator's session for five minutes, and neither for longer
// than 90 days.
func ExampleSession_WithIdleTimeout() {
	ctx := context.Background()
	sessions := session.NewMemoryStorage(30*time.Minute, session.WithMaxLifetime(90*24*time.Hour))
	remembered := session.New(session.NewID()).WithIdleTimeout(30 * 24 * time.Hour)
	admin := session.New(session.NewID()).WithIdleTimeout(5 * time.Minute)
	end := time.Now().Add(48 * time.Hour)
	export := session.New(session.NewID()).WithIdleTimeout(session.NoIdleTimeout).WithExpiresAt(end) // polled, or not
	for _, s := range []*session.Session{remembered, admin, export} {
		if err := sessions.Store(ctx, s); err != nil {
			panic(err)
		}
		loaded, err := sessions.Load(ctx, s.ID())
		if err != nil {
			panic(err)
		}
		fmt.Println(loaded.IdleTimeout(), loaded.ExpiresAt().Sub(loaded.CreatedAt()).Round(time.Hour))
	}
	// Output:
	// 720h0m0s 2160h0m0s
	// 5m0s 2160h0m0s
	// -1ns 48h0m0s
}

func ExampleSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	var database session.Storage = session.NewMemoryStorage(time.Hour) // one that does not expire sessions by itself
	fmt.Println(session.Sweep(ctx, database, time.Minute, time.Hour))
	// Output: context deadline exceeded
}
