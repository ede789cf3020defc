package redisstore

import (
	"cmp"
	"context"
	_ "embed"
	"slices"
	"strings"
)

//go:embed scripts/age.lua
var ageSource string

var ageScript = newScript(headerSource + ageSource)

// A limit is kept by each writer for itself, after its own write: it counts, and undoes what is too much. Of concurrent
// writers the one whose write comes last sees the values of all others, because the index names each before it is
// there. So they never leave more than the limit. They may leave less: each of two may see the other, and undo its own
// write.

// room is what a writer of a new value finds about the owner's other values that live.
type room struct {
	name     string
	revision string // 16 hex digits, so texts compare as numbers do
	idle     int64  // milliseconds since its last use
}

// keepLimit is called after a new value was written. When the owner has too many, it deletes the idlest of the older
// ones, or the new one itself, and then returns ErrTooMany. Of two writers only the later one deletes the value of the
// other: otherwise each might delete the other's.
func (s *Store) keepLimit(ctx context.Context, events, name, owner, revision string) error {
	for range maxRounds {
		others, err := s.others(ctx, name, owner)
		if err != nil {
			return err
		}
		over := len(others) + 1 - s.ownerLimit
		if over <= 0 {
			return nil
		}
		others = slices.DeleteFunc(others, func(o room) bool { return o.revision >= revision })
		if !s.endIdlest || len(others) < over {
			break
		}
		slices.SortFunc(others, func(a, b room) int {
			return cmp.Or(cmp.Compare(b.idle, a.idle), strings.Compare(a.revision, b.revision))
		})
		ended := 0
		for _, o := range others[:over] {
			gone, err := s.revoke(ctx, events, owner, o.revision, o.name)
			if err != nil {
				return err
			}
			ended += len(gone)
		}
		if ended == over {
			return nil
		}
		// One was written, or deleted, since it was looked at.
	}
	if _, err := s.revoke(ctx, events, owner, revision, name); err != nil {
		return err
	}
	return ErrTooMany
}

// maxRounds is how often a writer looks for values to end, when others are faster.
const maxRounds = 3

// others returns the owner's living values but one. It looks at none of them if there are too few in the index.
func (s *Store) others(ctx context.Context, name, owner string) (living []room, err error) {
	names, err := s.members(ctx, owner)
	if err != nil || len(names) <= s.ownerLimit {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(other string) bool { return other == name })
	calls := make([]call, len(names))
	for i, name := range names {
		calls[i] = call{s.ownKey(name), []any{owner, s.ttl.Milliseconds()}}
	}
	replies, failures := s.each(ctx, ageScript, false, calls)
	for i, name := range names {
		if failures[i] != nil {
			return nil, failures[i]
		}
		parts, ok := replies[i].([]any)
		if !ok {
			return nil, errUnexpectedReply
		}
		if len(parts) == 2 {
			revision, _ := parts[0].(string)
			idle, _ := parts[1].(int64)
			living = append(living, room{name, revision, idle})
		}
	}
	return living, nil
}
