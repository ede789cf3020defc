package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Use is the last use of a value that its reader has kept, and of which Redis does not know yet.
type Use struct {
	ID       string
	Revision uint64
	Idle     time.Duration // since the use
}

// Unchanged reports which values are still stored with the revision that their reader knows, and keeps those alive for
// a TTL from their use, but not past their end. It never shortens a TTL. For a use that is a TTL ago it is false, and
// nothing happens.
//
// It is one command, whatever the number of values, unless the server belongs to a Cluster, or refuses scripts with
// several keys: then it is one command for each value, and all those of one master go in one round trip. After an error
// nothing is known of any of them: to ask again does no harm.
func (s *Store) Unchanged(ctx context.Context, uses []Use) ([]bool, error) {
	unchanged := make([]bool, len(uses))
	var asked []int // indexes of the uses that still count
	var keys []string
	var args []any // two for each key
	for i, u := range uses {
		left := (s.ttl - max(0, u.Idle)).Milliseconds()
		if left <= 0 {
			continue
		}
		asked, keys, args = append(asked, i), append(keys, s.key(u.ID)), append(args, revisionText(u.Revision), left)
	}
	if len(asked) == 0 {
		return unchanged, nil
	}
	if _, err := s.eventsChannel(ctx); err != nil { // a client that cannot keep the promises
		return nil, err
	}
	answers, err := s.revalidate(ctx, keys, args)
	if err != nil {
		return nil, err
	}
	for i, answer := range answers {
		unchanged[asked[i]] = answer == '1'
	}
	return unchanged, nil
}

// revalidate returns a digit for each key.
func (s *Store) revalidate(ctx context.Context, keys []string, args []any) (answers []byte, err error) {
	_, cluster := s.base.(*redis.ClusterClient)
	if !cluster && (len(keys) == 1 || !s.oneKeyOnly.Load()) {
		reply, _, err := s.settle(ctx, keys[0], func(on *redis.Conn, _ loss) (any, error) {
			return runScript(ctx, s.through(on), revalidateScript, keys, args...)
		})
		if err == nil {
			return digits(reply, len(keys))
		}
		if len(keys) == 1 || !mayRefuseSeveralKeys(err) {
			return nil, err
		}
	}
	answers, err = s.revalidateEach(ctx, keys, args)
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

func digits(reply any, n int) ([]byte, error) {
	text, ok := reply.(string)
	if !ok || len(text) != n || strings.Trim(text, "01") != "" {
		return nil, errUnexpectedReply
	}
	return []byte(text), nil
}

// revalidateEach asks with one script for each key, all those of a master in one pipeline. Each master has a pipeline
// of its own, because the errors of one pipeline become those of all its commands when the context ends.
func (s *Store) revalidateEach(ctx context.Context, keys []string, args []any) ([]byte, error) {
	answers, errs := make([]byte, len(keys)), make([]error, len(keys))
	var masters sync.WaitGroup
	for _, group := range s.byMaster(ctx, keys) {
		masters.Go(func() {
			s.revalidateOn(ctx, group, keys, args, func(i int, answer byte, err error) { answers[i], errs[i] = answer, err })
		})
	}
	masters.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// byMaster groups the indexes of keys by the server that has them.
func (s *Store) byMaster(ctx context.Context, keys []string) map[*redis.Client][]int {
	groups := make(map[*redis.Client][]int)
	cluster, _ := s.base.(*redis.ClusterClient)
	for i, key := range keys {
		var master *redis.Client // nil if there is one, or it is not known: the command then has the error
		if cluster != nil {
			master, _ = cluster.MasterForKey(ctx, key)
		}
		groups[master] = append(groups[master], i)
	}
	return groups
}

// revalidateOn asks one server, and once more for what got no reply, see settle. It reports each answer, the last one
// last.
func (s *Store) revalidateOn(
	ctx context.Context, group []int, keys []string, args []any, answer func(i int, digit byte, err error),
) {
	lost := s.revalidateThrough(ctx, s.client, group, keys, args, answer)
	if len(lost) == 0 || ctx.Err() != nil {
		return
	}
	_ = s.afresh(ctx, keys[lost[0]], func(on *redis.Conn) { // if there is none, the answers have the error
		s.revalidateThrough(ctx, on, lost, keys, args, answer)
	})
}

// revalidateThrough sends the scripts by their hash, and once more in full those that the server did not know. It
// returns the indexes of those whose reply was lost.
func (s *Store) revalidateThrough(
	ctx context.Context, to pipeliner, group []int, keys []string, args []any, answer func(i int, digit byte, err error),
) (lost []int) {
	send := func(command, script string, group []int) (unknown []int) {
		pipe := to.Pipeline()
		cmds := make([]*redis.Cmd, len(group))
		for n, i := range group {
			cmds[n] = scriptCommand(ctx, command, script, keys[i:i+1], args[2*i:2*i+2])
			_ = pipe.Process(ctx, atMostOnce{cmds[n]})
		}
		_, execErr := pipe.Exec(ctx)
		for n, i := range group {
			reply, err := cmds[n].Result()
			switch {
			case err != nil && redis.HasErrorPrefix(err, "NOSCRIPT"):
				unknown = append(unknown, i)
			case lossOf(err) != notLost:
				lost = append(lost, i)
			}
			if err != nil {
				answer(i, '0', revalidateScript.failure(err))
				continue
			}
			digit, err := digits(reply, 1)
			if err != nil {
				answer(i, '0', errors.Join(err, execErr))
				continue
			}
			answer(i, digit[0], nil)
		}
		return unknown
	}
	if unknown := send("evalsha", revalidateScript.hash, group); len(unknown) > 0 {
		send("eval", revalidateScript.source, unknown)
	}
	return lost
}
