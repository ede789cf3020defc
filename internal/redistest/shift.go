package redistest

import (
	"context"
	_ "embed"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A script, so that no client sees some keys shifted and others not.
//
//go:embed shift.lua
var shiftSource string

var shiftScript = redis.NewScript(shiftSource)

// Shift makes d pass for all keys of the server at once: each expires that much earlier, and so do the listings in the
// indexes of owners. The server's clock does not change.
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
