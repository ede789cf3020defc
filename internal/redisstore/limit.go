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

// A limit is kept by each writer of a new value for itself, after its write: it counts, and undoes what is too much. Of
// concurrent writers the one whose write comes last sees the values of all others, because the index names each before
// it is there. So they never leave more than the limit. They may leave less: each of two may see the other, and undo
// its own write.
//
// What a value was before it got another owner cannot be written again. So room for it is made before it is written,
// and concurrent writers of that kind may leave more.

// room is what a writer finds about another living value of the owner.
type room struct {
	member   string
	revision string // 16 hex digits, so texts compare as numbers do
	idle     int64  // milliseconds since its last use, at most
}

// withinLimit writes a value of an owner.
func (p *pendingPut) withinLimit(ctx context.Context) (revision uint64, err error) {
	s, c := p.store, p.write.Condition
	if s.ownerLimit == 0 {
		revision, _, err = p.settle(ctx, "")
		return revision, err
	}
	revision, replaced, err := p.settle(ctx, "keep")
	switch {
	case err == errAnotherOwner: //nolint:errorlint // it is put.lua's own answer
		if err := p.makeRoom(ctx, maxRevision+1); err != nil {
			return 0, err
		}
		revision, _, err = p.settle(ctx, "")
		return revision, err
	case err == nil && c.mayCreate() && !replaced:
		err = p.makeRoom(ctx, revision)
		if err == ErrTooMany { //nolint:errorlint // makeRoom does not wrap it
			if _, failure := s.revoke(ctx, p.events, p.owner, revisionText(revision), p.member); failure != nil {
				err = failure
			}
		}
	}
	return revision, err
}

// makeRoom returns ErrTooMany if the owner has too many other values. With EndIdlest it deletes the idlest of those
// with a lower revision instead. So of two writers of new values only one deletes the value of the other: otherwise
// each might delete the other's.
func (p *pendingPut) makeRoom(ctx context.Context, before uint64) error {
	s := p.store
	for range maxRounds {
		others, err := p.others(ctx)
		if err != nil {
			return err
		}
		over := len(others) + 1 - s.ownerLimit
		if over <= 0 {
			return nil
		}
		others = slices.DeleteFunc(others, func(o room) bool { return o.revision >= revisionText(before) })
		if !s.endIdlest || len(others) < over {
			return ErrTooMany
		}
		slices.SortFunc(others, func(a, b room) int {
			return cmp.Or(cmp.Compare(b.idle, a.idle), strings.Compare(a.revision, b.revision))
		})
		ended := 0
		for _, o := range others[:over] {
			gone, err := s.revoke(ctx, p.events, p.owner, o.revision, o.member)
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
	return ErrTooMany
}

// maxRounds is how often a writer looks for values to end, when others are faster.
const maxRounds = 3

// others returns the owner's other values that live. It looks at none of them if there are few in the index.
func (p *pendingPut) others(ctx context.Context) (living []room, err error) {
	s := p.store
	members, err := s.members(ctx, p.owner)
	if err != nil || len(members) <= s.ownerLimit {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(other string) bool { return other == p.member })
	calls := make([]call, len(members))
	for i, member := range members {
		calls[i] = call{key: s.ownKey(member), args: []any{p.owner, s.ttl.Milliseconds()}}
	}
	replies, failures := s.each(ctx, ageScript, false, calls)
	for i, member := range members {
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
			living = append(living, room{member, revision, idle})
		}
	}
	return living, nil
}
