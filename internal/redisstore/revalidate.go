package redisstore

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Use is the last use of a value that its reader has kept, and of which Redis does not know yet.
type Use struct {
	ID       string
	Revision uint64
	Idle     time.Duration // since the use
}

// Unchanged reports which values are still stored with the revision that their reader knows, and keeps those alive from
// their use: for their own idle time, or else for the TTL, but not past their end. It never shortens what they have.
// For a use that is too long ago it is false, and nothing happens.
//
// It is one command, whatever the number of values, unless the server belongs to a Cluster, or refuses scripts with
// several keys: then it is one command for each value, and all those of one master go in one round trip. After an error
// nothing is known of any of them: to ask again does no harm.
func (s *Store) Unchanged(ctx context.Context, uses []Use) ([]bool, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	if _, err := s.eventsChannel(ctx); err != nil { // a client that cannot keep the promises
		return nil, err
	}
	calls := make([]call, len(uses))
	for i, u := range uses {
		calls[i] = call{s.key(u.ID), []any{revisionText(u.Revision), inMilliseconds(max(0, u.Idle))}}
	}
	answers, err := s.revalidate(ctx, calls)
	if err != nil {
		return nil, err
	}
	unchanged := make([]bool, len(uses))
	for i, answer := range answers {
		unchanged[i] = answer == '1'
	}
	return unchanged, nil
}

// revalidate returns a digit for each call.
func (s *Store) revalidate(ctx context.Context, calls []call) (answers []byte, err error) {
	_, cluster := s.base.(*redis.ClusterClient)
	if !cluster && (len(calls) == 1 || !s.oneKeyOnly.Load()) {
		keys, args := make([]string, len(calls)), []any{s.ttl.Milliseconds()}
		for i, c := range calls {
			keys[i], args = c.key, append(args, c.args...)
		}
		reply, _, err := s.settle(ctx, keys[0], func(on *redis.Conn, _ loss) (any, error) {
			return runScript(ctx, s.through(on), revalidateScript, keys, args...)
		})
		if err == nil {
			return digits(reply, len(calls))
		}
		if len(calls) == 1 || !mayRefuseSeveralKeys(err) {
			return nil, err
		}
	}
	answers, err = s.revalidateEach(ctx, calls)
	if err == nil {
		s.oneKeyOnly.Store(true)
	}
	return answers, err
}

// mayRefuseSeveralKeys reports whether an error may mean that the server takes scripts with one key only. A node of a
// Cluster says CROSSSLOT; services have their own words, with the general code.
func mayRefuseSeveralKeys(err error) bool {
	return redis.HasErrorPrefix(err, "CROSSSLOT") || hasCode(err, "ERR")
}

// revalidateEach asks with one script for each key.
func (s *Store) revalidateEach(ctx context.Context, calls []call) (answers []byte, err error) {
	for i, c := range calls {
		calls[i].args = append([]any{s.ttl.Milliseconds()}, c.args...)
	}
	replies, errs := s.each(ctx, revalidateScript, false, calls)
	for i, reply := range replies {
		if errs[i] != nil {
			return nil, errs[i]
		}
		digit, err := digits(reply, 1)
		if err != nil {
			return nil, err
		}
		answers = append(answers, digit...)
	}
	return answers, nil
}

func digits(reply any, n int) ([]byte, error) {
	text, ok := reply.(string)
	if !ok || len(text) != n || strings.Trim(text, "01") != "" {
		return nil, errUnexpectedReply
	}
	return []byte(text), nil
}
