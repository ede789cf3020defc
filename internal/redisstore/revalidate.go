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
// It is one command, whatever the number of values. On a Cluster it is one for each slot, and those of one master go in
// one round trip. Where the server refuses scripts with several keys, it is one for each value. After an error nothing
// is known of any of them: to ask again does no harm.
func (s *Store) Unchanged(ctx context.Context, uses []Use) ([]bool, error) {
	if len(uses) == 0 {
		return nil, nil
	}
	if _, err := s.eventsChannel(ctx); err != nil { // a client that cannot keep the promises
		return nil, err
	}
	calls := make([]call, len(uses))
	for i, u := range uses {
		calls[i] = call{key: s.key(u.ID), args: []any{revisionText(u.Revision), inMilliseconds(max(0, u.Idle))}}
	}
	answers, err := s.revalidate(ctx, calls)
	if err != nil {
		return nil, err
	}
	unchanged := make([]bool, len(uses))
	var all []due
	for i, u := range uses {
		unchanged[i] = answers[i].stored
		if answers[i].due != "" {
			l, _ := listingOf(s.names.Key(u.ID), answers[i].due)
			all = append(all, due{l, revisionText(u.Revision), u.Idle})
		}
	}
	s.relist(ctx, all...)
	return unchanged, nil
}

// revalidated is what revalidate.lua says about one value.
type revalidated struct {
	stored bool
	due    string // the header of a value that has to be listed anew, else ""
}

// revalidate returns an answer to each call.
func (s *Store) revalidate(ctx context.Context, calls []call) (answers []revalidated, err error) {
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
			return parseAnswers(reply, len(calls))
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

// revalidateEach asks with one script for each slot of a Cluster, elsewhere for each key.
func (s *Store) revalidateEach(ctx context.Context, calls []call) (answers []revalidated, err error) {
	answers = make([]revalidated, len(calls))
	groups := s.bySlot(calls)
	var divided [][]int
	for i, err := range s.revalidateGroups(ctx, calls, groups, answers) {
		switch {
		case hasCode(err, "TRYAGAIN"): // the slot moves, and not all of the keys are still here: each goes by itself
			for _, member := range groups[i] {
				divided = append(divided, []int{member})
			}
		case err != nil:
			return nil, err
		}
	}
	for _, err := range s.revalidateGroups(ctx, calls, divided, answers) {
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// revalidateGroups asks with one script for each group of calls, and fills in their answers. It returns an error for
// each group.
func (s *Store) revalidateGroups(
	ctx context.Context, calls []call, groups [][]int, answers []revalidated,
) (errs []error) {
	scripts := make([]call, len(groups))
	for i, group := range groups {
		scripts[i] = call{key: calls[group[0]].key, args: []any{s.ttl.Milliseconds()}}
		for n, member := range group {
			if n > 0 {
				scripts[i].more = append(scripts[i].more, calls[member].key)
			}
			scripts[i].args = append(scripts[i].args, calls[member].args...)
		}
	}
	replies, errs := s.each(ctx, revalidateScript, false, scripts)
	for i, group := range groups {
		if errs[i] != nil {
			continue
		}
		var parsed []revalidated
		if parsed, errs[i] = parseAnswers(replies[i], len(group)); errs[i] != nil {
			continue
		}
		for n, member := range group {
			answers[member] = parsed[n]
		}
	}
	return errs
}

// bySlot groups the indexes of calls: on a Cluster by slot, elsewhere each for itself.
func (s *Store) bySlot(calls []call) (groups [][]int) {
	_, cluster := s.base.(*redis.ClusterClient)
	known := make(map[int]int) // the group of each slot
	for i, c := range calls {
		slot := slotOf(c.key)
		group, ok := known[slot]
		if !ok || !cluster {
			group, known[slot] = len(groups), len(groups)
			groups = append(groups, nil)
		}
		groups[group] = append(groups[group], i)
	}
	return groups
}

// parseAnswers reads the reply of revalidate.lua about n values.
func parseAnswers(reply any, n int) (answers []revalidated, err error) {
	text, _ := reply.(string)
	if len(text) < n {
		return nil, errUnexpectedReply
	}
	digits, rest := text[:n], text[n:]
	if strings.Trim(digits, "012") != "" || len(rest) != headerLength*strings.Count(digits, "2") {
		return nil, errUnexpectedReply
	}
	for _, digit := range digits {
		answer := revalidated{stored: digit != '0'}
		if digit == '2' {
			answer.due, rest = rest[:headerLength], rest[headerLength:]
		}
		answers = append(answers, answer)
	}
	return answers, nil
}
