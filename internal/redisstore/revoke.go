package redisstore

import (
	"cmp"
	"context"
	_ "embed"
	"iter"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

var (
	//go:embed scripts/members.lua
	membersSource string
	//go:embed scripts/revoke.lua
	revokeSource string

	membersScript = newScript(headerSource + indexSource + membersSource)
	revokeScript  = newScript(headerSource + revokeSource)
)

// partSize is how many values of an owner are looked at together.
const partSize = 128

// Owned is a value of an owner.
type Owned struct {
	Value

	Name string // what stands for its id in keys, see [Names]
}

// members returns the names in an owner's index. They are read with one command. A reader in parts would either follow
// the logins of a busy owner for ever, or miss what is listed anew while it reads.
func (s *Store) members(ctx context.Context, owner string) ([]string, error) {
	key := s.index(owner)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return runScript(ctx, s.through(on), membersScript, []string{key})
	})
	if err != nil {
		return nil, errs.Because("the owner's index", err)
	}
	parts, ok := reply.([]any)
	if !ok {
		return nil, errUnexpectedReply
	}
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i], _ = part.(string)
	}
	return names, nil
}

// Owned iterates over the values of an owner, and leaves their idle times as they are. A value that belongs to the
// owner all the time is there, once; one that is written or deleted meanwhile may be missing. What is no value is left
// out. An error is the last element.
func (s *Store) Owned(ctx context.Context, owner string) iter.Seq2[Owned, error] {
	return func(yield func(Owned, error) bool) {
		owner := hashOf(owner)
		names, err := s.members(ctx, owner)
		if err != nil {
			yield(Owned{}, err)
			return
		}
		for part := range slices.Chunk(names, partSize) {
			stored, failures := s.peekEach(ctx, part)
			for i, name := range part {
				if failures[i] != nil {
					yield(Owned{}, failures[i])
					return
				}
				v, invalid := parseValue([]byte(stored[i]))
				l, ok := listingOf(name, stored[i])
				if invalid == nil && ok && l.owner == owner && !yield(Owned{v, name}, nil) {
					return
				}
			}
		}
	}
}

// peekEach returns what is stored under names, "" for what is no string.
func (s *Store) peekEach(ctx context.Context, names []string) (stored []string, failures []error) {
	calls := make([]call, len(names))
	for i, name := range names {
		calls[i] = call{key: s.ownKey(name)}
	}
	replies, failures := s.each(ctx, peekScript, false, calls)
	stored = make([]string, len(names))
	for i, reply := range replies {
		stored[i], _ = reply.(string)
	}
	return stored, failures
}

// Revoke deletes the values of an owner, announces each, and returns how many it has deleted. A value whose Put has
// returned before is deleted; one whose Put returns later is deleted, or lives. After an error the number is that of
// the values which are known to be deleted, and others may live. To call it again does no harm.
func (s *Store) Revoke(ctx context.Context, owner string) (ended int, err error) {
	events, err := s.eventsChannel(ctx)
	if err != nil {
		return 0, err
	}
	owner = hashOf(owner)
	names, err := s.members(ctx, owner)
	for part := range slices.Chunk(names, partSize) {
		gone, failure := s.revoke(ctx, events, owner, "", part...)
		ended += len(gone)
		err = cmp.Or(err, failure) // the rest is deleted all the same
	}
	return ended, err
}

// revoke deletes those values that belong to an owner, and have a revision if that is not "". It returns their
// listings, which it takes back if it can.
func (s *Store) revoke(
	ctx context.Context, events, owner, revision string, names ...string,
) (gone []listing, err error) {
	calls, about := make([]call, len(names)), s.eventsOf(ctx, names)
	for i, name := range names {
		calls[i] = call{s.ownKey(name), []any{events, about[i], owner, revision}}
	}
	replies, failures := s.each(ctx, revokeScript, true, calls)
	for i, name := range names {
		switch stamp, ok := replies[i].(string); {
		case failures[i] != nil:
			err = failures[i] // one is enough
		case !ok:
			err = errUnexpectedReply
		case stamp != "":
			gone = append(gone, listing{member: name, owner: owner, stamp: stamp})
		}
	}
	s.unlist(ctx, owner, gone...)
	return gone, err
}

// eventsOf returns what stands in events for the ids of values, of which only the names are known. It is "" for a value
// that is gone, or cannot be read: an event that says "any value", should there be one by then.
func (s *Store) eventsOf(ctx context.Context, names []string) []string {
	if _, same := s.names.(plainNames); same {
		return names
	}
	events := make([]string, len(names))
	stored, _ := s.peekEach(ctx, names)
	for i, name := range names {
		if v, err := parseValue([]byte(stored[i])); err == nil {
			if id, ok := s.names.ID(name, v.Data); ok {
				events[i] = s.names.Event(id)
			}
		}
	}
	return events
}
