package session

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

const errNoOwnerIndex = errs.SafeError("the RedisStorage was made without WithOwnerIndex")

// FailedListings returns how many times sessions that are used could not be listed anew in the index of their owner,
// see [WithOwnerIndex]. No call fails because of that, but a session ends with its listing: while this number grows,
// sessions end that are in use. [Stats] has it, too.
func (rs *RedisStorage) FailedListings() uint64 { return rs.store.FailedListings() }

// Revoke implements [Revoker]. Without [WithOwnerIndex] it is [errors.ErrUnsupported].
//
// It reads the index of the principal, and ends the sessions in it with one script for each, 128 in a round trip, on a
// Cluster one to each master. When one master does not answer, the sessions on the others are ended all the same. A
// session whose deletion was acknowledged only by the repetition of a lost reply is not counted. [WithHashedIDs] costs
// another round trip for each 128, which reads the ids that the events are about.
func (rs *RedisStorage) Revoke(ctx context.Context, principal string) (int, error) {
	const op = "revoke"
	if err := rs.checkOwner(ctx, op); err != nil || principal == "" {
		return 0, err
	}
	ended, err := rs.store.Revoke(ctx, validText(principal))
	if err != nil {
		return ended, rs.failure(ctx, op, err)
	}
	return ended, nil
}

// Sessions implements [Lister]. Without [WithOwnerIndex] it is [errors.ErrUnsupported]. It reads 128 sessions in a
// round trip. A value that the codec cannot read is left out, and the last element is [ErrCorrupt] then.
func (rs *RedisStorage) Sessions(ctx context.Context, principal string) iter.Seq2[*Session, error] {
	const op = "sessions"
	return func(yield func(*Session, error) bool) {
		if err := rs.checkOwner(ctx, op); err != nil {
			yield(nil, err)
			return
		}
		if principal == "" {
			return // no session belongs to that
		}
		var corrupt error
		principal := validText(principal)
		for owned, err := range rs.store.Owned(ctx, principal) {
			if err != nil {
				yield(nil, rs.failure(ctx, op, err))
				return
			}
			s, err := decodeFor(rs.codec, owned.ID, owned.Data, owned.Revision)
			switch {
			case err != nil:
				corrupt = opErrBecause(op, ErrCorrupt, err)
			case s.principal != principal || s.Expired(time.Now()): // it was put into the index by another program
			case !yield(s, nil):
				return
			}
		}
		if corrupt != nil {
			yield(nil, corrupt)
		}
	}
}

func (rs *RedisStorage) checkOwner(ctx context.Context, op string) error {
	if !rs.owners {
		return opErrBecause(op, errors.ErrUnsupported, errNoOwnerIndex)
	}
	if err := ctx.Err(); err != nil {
		return opErr(op, err)
	}
	return nil
}
