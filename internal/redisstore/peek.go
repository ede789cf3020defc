package redisstore

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/peek.lua
var peekSource string

var peekScript = newScript(headerSource + peekSource)

// Peek returns a value, and leaves its TTL as it is.
func (s *Store) Peek(ctx context.Context, id string) (Value, error) {
	if _, err := s.eventsChannel(ctx); err != nil { // a client that cannot keep the promises
		return Value{}, err
	}
	key := s.key(id)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return runScript(ctx, s.through(on), peekScript, []string{key})
	})
	if err != nil {
		return Value{}, err
	}
	if stored, ok := reply.(string); ok {
		return parseValue([]byte(stored))
	}
	return Value{}, noString(reply)
}
