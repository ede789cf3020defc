package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// Condition is what must be stored for a [Store.Put] to take place.
type Condition string

// The conditions that name no revision.
const (
	Always    Condition = ""        // a value, or none
	IfAbsent  Condition = "absent"  // none, else ErrExists
	IfPresent Condition = "present" // a value, else ErrMissing
)

// IfRevision is the condition that the stored value has this revision, else ErrConflict or ErrMissing.
func IfRevision(revision uint64) Condition { return Condition(revisionText(revision)) }

// NamesRevision reports whether the condition can be true once only: a revision that is gone never comes back.
func (c Condition) NamesRevision() bool { return !c.mayCreate() && c != IfPresent }

// mayCreate reports whether the condition can be true when nothing is stored.
func (c Condition) mayCreate() bool { return c == Always || c == IfAbsent }

// Write is what a [Store.Put] writes, and when.
type Write struct {
	Data      []byte
	Condition Condition
	Lifetime  Lifetime
	Owner     string // "" for none; it counts only with Owners
}

// Put writes a value, and returns its new revision, which is higher than the stored one. A value that would never end
// is refused. A value with an owner takes a second round trip, which lists it.
//
// ErrExists, ErrConflict and ErrCorrupt say that this Put has written nothing, and will not. ErrEnded says that the end
// of the value is over. ErrTooMany says that the owner has as many values as it may: nothing was written, or a value
// that was new was deleted again.
func (s *Store) Put(ctx context.Context, id string, w Write) (revision uint64, err error) {
	if w.Lifetime.endless() {
		return 0, errEndless
	}
	events, err := s.eventsChannel(ctx)
	if err != nil {
		return 0, err
	}
	p := pendingPut{
		store: s, key: s.key(id), event: s.names.Event(id), events: events, write: w, token: newToken(),
		listing: listing{member: s.names.Key(id), times: w.Lifetime.text(), owner: noOwner, stamp: noStamp},
	}
	if !s.owners || w.Owner == "" {
		revision, _, err = p.settle(ctx, "")
		return revision, err
	}
	p.owner = hashOf(w.Owner)
	if p.listing, err = s.list(ctx, p.listing); err != nil {
		return 0, err
	}
	revision, err = p.withinLimit(ctx)
	if isAny(err, ErrMissing, ErrExists, ErrConflict, ErrCorrupt, ErrEnded, ErrTooMany) {
		s.unlist(ctx, p.owner, p.listing) // no value has, or will have, this stamp
	}
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// pendingPut is one call of Put.
type pendingPut struct {
	listing

	store              *Store
	key, event, events string
	write              Write
	token              uint64
}

// errAnotherOwner is only seen inside of a Put: the stored value belongs to another owner, and nothing was written.
const errAnotherOwner = errs.SafeError("the stored value belongs to another owner")

// settle writes the value, and settles what becomes of it, see settle.go. The mode is "", or "keep" if a value of
// another owner must not be replaced. replaced tells whether one was there before.
func (p *pendingPut) settle(ctx context.Context, mode string) (revision uint64, replaced bool, err error) {
	s, c, l := p.store, p.write.Condition, p.listing
	send := func(on *redis.Conn, mode string) (any, error) {
		return s.write(ctx, on, putScript, p.key, p.write.Data, s.ttl.Milliseconds(), p.events, p.event, string(c),
			afterRevisions(p.token, l), mode)
	}
	reply, before, err := s.settle(ctx, p.key, func(on *redis.Conn, before loss) (any, error) {
		if before == overdue && !c.NamesRevision() {
			return send(on, "ask")
		}
		if before == closed && !c.NamesRevision() && l.owner != noOwner {
			// 1. The first attempt was executed. 2. The value was deleted, and its listing taken back. 3. This attempt would
			// write a value that is not listed.
			var err error
			if l, err = s.list(ctx, l); err != nil {
				return nil, err
			}
		}
		return send(on, mode)
	})
	if err != nil {
		return 0, false, err
	}
	revision, what, err := putOutcome(reply, before)
	s.takeBack(ctx, p.member, what)
	return revision, what != "", err
}

// putOutcome reads the reply of put.lua. In the reply to a repetition only some answers are about the whole Put: that
// the value is stored, that it is missing now, that it has ended, or that another write has replaced the very revision
// that this one was to replace. The other answers may be about what the first attempt has stored, and others have
// changed since.
//
// replaced is "" if no value was, and the owner of that value and its stamp if that was another owner.
func putOutcome(reply any, before loss) (revision uint64, replaced string, err error) {
	switch reply {
	case "missing":
		return 0, "", ErrMissing
	case "ended":
		return 0, "", ErrEnded
	case "replaced":
		return 0, "", ErrConflict
	case "unknown":
		return 0, "", errUnsettled
	case "unlisted":
		return 0, "", errUnlisted
	case "owner":
		return 0, "", errAnotherOwner
	case "conflict":
		err = ErrConflict
	case "exists":
		err = ErrExists
	case "corrupt":
		err = ErrCorrupt
	default:
		text, _ := reply.(string)
		digits := text[:min(len(text), revisionLength)]
		if revision, ok := parseRevision(digits); ok {
			return revision, text[revisionLength:], nil
		}
		return 0, "", errUnexpectedReply
	}
	if before != notLost {
		return 0, "", errUnsettled
	}
	return 0, "", err
}
