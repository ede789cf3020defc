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
	revokeScript  = newScript(headerSource + announceSource + revokeSource)
)

// partSize is how many values of an owner are looked at together.
const partSize = 128

// Owned is a value of an owner.
type Owned struct {
	Value

	ID string
}

// members returns what stands for each id in an owner's index. They are read with one command. A reader in parts would
// either follow the logins of a busy owner for ever, or miss what is listed anew while it reads.
func (s *Store) members(ctx context.Context, owner string) ([]string, error) {
	key := s.index(owner)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return runScript(ctx, s.through(on), membersScript, []string{key})
	})
	if err != nil {
		return nil, errs.During("the owner's index", err)
	}
	parts, ok := reply.([]any)
	if !ok {
		return nil, errUnexpectedReply
	}
	members := make([]string, len(parts))
	for i, part := range parts {
		members[i], _ = part.(string)
	}
	return members, nil
}

// Owned iterates over the values of an owner, and leaves their idle times as they are. A value that belongs to the
// owner all the time is there, once; one that is written or deleted meanwhile may be missing. What is no value is left
// out. An error is the last element.
func (s *Store) Owned(ctx context.Context, owner string) iter.Seq2[Owned, error] {
	return func(yield func(Owned, error) bool) {
		owner := hashOf(owner)
		members, err := s.members(ctx, owner)
		if err != nil {
			yield(Owned{}, err)
			return
		}
		for part := range slices.Chunk(members, partSize) {
			values, failures := s.look(ctx, owner, part)
			for i, o := range values {
				if failures[i] != nil {
					yield(Owned{}, failures[i])
					return
				}
				if o.Revision != 0 && !yield(o, nil) {
					return
				}
			}
		}
	}
}

// look returns for each member of an owner's index the value that the owner has there, with revision 0 if there is
// none, or an error.
func (s *Store) look(ctx context.Context, owner string, members []string) ([]Owned, []error) {
	calls, values := make([]call, len(members)), make([]Owned, len(members))
	for i, member := range members {
		calls[i] = call{key: s.ownKey(member)}
	}
	replies, failures := s.each(ctx, peekScript, false, calls)
	for i, member := range members {
		stored, ok := replies[i].(string)
		if !ok && failures[i] == nil && noString(replies[i]) == errUnexpectedReply { //nolint:errorlint // it is not wrapped
			failures[i] = errUnexpectedReply
		}
		v, invalid := parseValue([]byte(stored))
		if l, ok := listingOf(member, stored); ok && l.owner == owner && invalid == nil {
			values[i] = Owned{v, member}
			if s.idOf != nil {
				values[i].ID = s.idNamed(member, v.Data) // "" if it cannot be read, which its reader notices
			}
		}
	}
	return values, failures
}

// idNamed returns the id of a value, or "" if it cannot be read, or is not the id that the name stands for: another
// program can put a value under any key.
func (s *Store) idNamed(name string, data []byte) string {
	if id, ok := s.idOf(data); ok && s.names.Key(id) == name {
		return id
	}
	return ""
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
	members, err := s.members(ctx, owner)
	for part := range slices.Chunk(members, partSize) {
		gone, failure := s.revoke(ctx, events, owner, "", part...)
		ended += len(gone)
		err = cmp.Or(err, failure) // the rest is deleted all the same
	}
	return ended, err
}

// revoke deletes those values of an owner that have a revision, or any if that is "". It returns their listings, which
// it takes back if it can.
func (s *Store) revoke(
	ctx context.Context, events, owner, revision string, members ...string,
) (gone []listing, err error) {
	names, err := s.eventNames(ctx, owner, members)
	calls := make([]call, len(members))
	for i, member := range members {
		calls[i] = call{key: s.ownKey(member), args: []any{events, names[i], owner, revision}}
	}
	replies, failures := s.each(ctx, revokeScript, true, calls)
	for i, member := range members {
		switch stamp, ok := replies[i].(string); {
		case failures[i] != nil:
			err = failures[i] // one is enough
		case !ok:
			err = errUnexpectedReply
		case stamp != "":
			gone = append(gone, listing{member: member, owner: owner, stamp: stamp})
		}
	}
	s.unlist(ctx, owner, gone...)
	return gone, err
}

// eventNames returns what stands for the ids in events. If an index does not have the ids, the values have. For a value
// that cannot be read it is "": such an event is a Gap to all watches, which drops the copies of any id.
func (s *Store) eventNames(ctx context.Context, owner string, members []string) (names []string, err error) {
	if s.idOf == nil {
		for _, id := range members {
			names = append(names, s.names.Event(id))
		}
		return names, nil
	}
	names = make([]string, len(members))
	values, failures := s.look(ctx, owner, members)
	for i, o := range values {
		if err = cmp.Or(err, failures[i]); o.ID != "" {
			names[i] = s.names.Event(o.ID)
		}
	}
	return names, err
}
