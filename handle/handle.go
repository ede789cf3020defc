package handle

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/digest"
)

// Store keeps values of one kind behind handles. It has no state of its own: any number of replicas with the same
// storage, kind and type see the same values. It is safe for concurrent use.
//
// T is whatever encoding/json can encode and decode. Each call decodes a value of its own, which the caller may change.
// A field that this release of a program does not know is lost when it updates a value.
//
// Every method returns [ErrNoOwner], and does nothing else, when the owner is empty, unless the store is [Anonymous].
// All other errors are the storage's, whose texts contain neither a handle nor an owner nor a value.
type Store[T any] struct {
	options
	storage session.Storage
	kind    string
}

// New returns a store for the values of one kind. The kind separates them from other values in the same storage: it
// must stay the same for as long as there are values, and no other store may have it with another T.
//
// The storage belongs to the caller. New panics when it is nil, when kind is empty, or when values would never end:
// with [session.NoIdleTimeout] there must be a [WithMaxLifetime].
func New[T any](storage session.Storage, kind string, opts ...Option) *Store[T] {
	if storage == nil {
		panic("handle: New: the storage is nil")
	}
	if kind == "" {
		panic("handle: New: the kind is empty")
	}
	s := &Store[T]{storage: storage, kind: kind}
	for _, opt := range opts {
		opt(&s.options)
	}
	if s.idleTimeout < 0 && s.maxLifetime == 0 {
		panic("handle: New: WithIdleTimeout(session.NoIdleTimeout) needs a WithMaxLifetime: values would never end")
	}
	return s
}

// Mint stores a value, and returns its handle: 26 letters and digits with 130 random bits. Errors are those of
// [session.Storage] Store for a new session: [session.ErrTooLarge], [session.ErrTooMany] where the storage limits what
// an owner may have, [session.ErrUnavailable]; and [session.ErrEncode] if the value has no JSON.
func (s *Store[T]) Mint(ctx context.Context, owner string, value T) (string, error) {
	handle := rand.Text()
	key, err := s.Key(owner, handle)
	if err != nil {
		return "", err
	}
	data, err := encode("mint", value)
	if err != nil {
		return "", err
	}
	now := time.Now()
	record := session.Record{
		ID: key, Type: recordType, Principal: s.principal(owner), Data: data,
		CreatedAt: now, UpdatedAt: now, IdleTimeout: s.idleTimeout,
	}
	if s.maxLifetime > 0 {
		record.ExpiresAt = now.Add(s.maxLifetime)
	}
	if err := s.storage.Store(ctx, session.FromRecord(record)); err != nil {
		return "", err
	}
	return handle, nil
}

// Load returns the value behind a handle of the owner, and starts its idle time anew. [session.ErrNotFound]: the owner
// has no such handle of this kind, or not any more. [session.ErrCorrupt]: what is stored is no T.
func (s *Store[T]) Load(ctx context.Context, owner, handle string) (T, error) {
	var none T
	key, err := s.Key(owner, handle)
	if err != nil {
		return none, err
	}
	stored, err := s.storage.Load(ctx, key)
	if err != nil {
		return none, err
	}
	return decode[T]("load", stored)
}

// Update changes the value behind a handle of the owner, and returns what is stored now. change gets the present value
// and changes it in place. If another call has changed the value meanwhile, Update starts again with that: change may
// be called several times, and must not have other effects. It retries until it succeeds, the context ends, or the
// storage fails. An error of change ends it; Update returns that as it is, and what is stored stays. A change that
// leaves the value as it was stores nothing. Further errors are those of Load and Mint.
//
// Through a [session.RoutingStorage], change may first get a value as old as a Load may return: what it stores is never
// based on that, but an error of change may be, and so may be that it leaves the value as it was.
func (s *Store[T]) Update(ctx context.Context, owner, handle string, change func(value *T) error) (T, error) {
	var none, value T
	key, err := s.Key(owner, handle)
	if err != nil {
		return none, err
	}
	_, err = session.Update(ctx, s.storage, key, func(stored *session.Session) (*session.Session, error) {
		var err error
		if value, err = decode[T]("update", stored); err != nil {
			return nil, err
		}
		if err := change(&value); err != nil {
			return nil, err
		}
		data, err := encode("update", value)
		if err != nil || bytes.Equal(data, stored.Data()) {
			return nil, err
		}
		return stored.WithData(data), nil
	})
	if err != nil {
		return none, err
	}
	return value, nil
}

// Take returns the value behind a handle of the owner, and deletes it, in one step: of any number of concurrent calls
// at most one gets it, all others get [session.ErrNotFound]. After [session.ErrUnavailable] the value may be gone. The
// error matches [errors.ErrUnsupported] when the storage is no [session.Taker]. A value that is no T is gone, too.
func (s *Store[T]) Take(ctx context.Context, owner, handle string) (T, error) {
	var none T
	key, err := s.Key(owner, handle)
	if err != nil {
		return none, err
	}
	taken, err := session.Take(ctx, s.storage, key)
	if err != nil {
		return none, err
	}
	return decode[T]("take", taken)
}

// Delete removes the value behind a handle of the owner. It is not an error when there is none.
func (s *Store[T]) Delete(ctx context.Context, owner, handle string) error {
	key, err := s.Key(owner, handle)
	if err != nil {
		return err
	}
	return s.storage.Delete(ctx, key)
}

// Revoke deletes all values of this kind that the owner has, and returns how many. It is [session.Revoker] Revoke of
// the storage; the error matches [errors.ErrUnsupported] when the storage is none, or has no index of owners. What was
// minted for "" has no owner, and cannot be revoked: with [Anonymous], Revoke for "" deletes nothing.
func (s *Store[T]) Revoke(ctx context.Context, owner string) (int, error) {
	switch revoker, ok := s.storage.(session.Revoker); {
	case owner == "" && !s.anonymous:
		return 0, ErrNoOwner
	case !ok:
		return 0, &failure{"revoke: the storage has no index of owners", errors.ErrUnsupported, nil}
	case owner == "":
		return 0, nil
	default:
		return revoker.Revoke(ctx, s.principal(owner))
	}
}

// Key returns the id under which the storage has the value of a handle, whether there is one or not. There is no other
// way to the value: another owner, kind or handle makes another key. Use it to recognise a value in the events of a
// [session.Watcher], or to keep it alive with [session.KeepAlive]. A key is no handle, and shows nothing of one.
func (s *Store[T]) Key(owner, handle string) (string, error) {
	if owner == "" && !s.anonymous {
		return "", ErrNoOwner
	}
	return "handle:" + digest.Hex(keyLabel, s.kind, owner, handle), nil
}

// recordType is the type of the sessions that hold values, so that they can be told from others.
const recordType session.Type = "handle"

const (
	keyLabel   = "github.com/seed34611480/session/handle key"
	ownerLabel = "github.com/seed34611480/session/handle owner"
)

// principal returns the owner as the storage gets to know it.
func (s *Store[T]) principal(owner string) string {
	if owner == "" {
		return ""
	}
	return "handle:" + digest.Hex(ownerLabel, s.kind, owner)
}

func encode[T any](op string, value T) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, &failure{op + ": the value has no JSON", session.ErrEncode, err}
	}
	return data, nil
}

func decode[T any](op string, stored *session.Session) (T, error) {
	var value T
	if err := json.Unmarshal(stored.Data(), &value); err != nil {
		var none T // it may be filled in part
		return none, &failure{op + ": the stored value is none of this type", session.ErrCorrupt, err}
	}
	return value, nil
}
