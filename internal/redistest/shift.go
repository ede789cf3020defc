package redistest

import (
	"context"
	_ "embed"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A script, so that nobody sees one key after the shift and another before it.
//
//go:embed shift.lua
var shiftSource string

var shiftScript = redis.NewScript(shiftSource)

// Shift lets d pass for the server's keys at once: each has that much less left to live, or has expired. The server's
// clock itself does not change.
func (s *Server) Shift(t testing.TB, d time.Duration) {
	t.Helper()
	s.do(t, func(ctx context.Context, client *redis.Client) error { return shift(ctx, client, d) })
}

func shift(ctx context.Context, client *redis.Client, d time.Duration) error {
	err := shiftScript.Eval(ctx, client, nil, d.Milliseconds()).Err()
	if errors.Is(err, redis.Nil) { // a script that returns nothing
		return nil
	}
	return err
}
