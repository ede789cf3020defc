package scsstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/seed34611480/session"
)

// Store keeps the sessions of an [scs.SessionManager] in a [session.Storage]. It is an [scs.CtxStore] and an
// [scs.IterableCtxStore], and safe for concurrent use. Its errors are those of the storage. No text of them has a token
// or anything of a session in it.
type Store struct {
	storage  session.Storage
	codec    scs.Codec
	owner    func(values map[string]any) string // nil: all have the same one
	requests requests
}

var (
	_ scs.CtxStore         = (*Store)(nil)
	_ scs.IterableCtxStore = (*Store)(nil)
)

// Option configures a [Store].
type Option func(s *Store)

// WithCodec sets the codec, which must be that of the SessionManager: the store has to know what a commit changes. The
// default is [scs.GobCodec], as in scs. It panics when codec is nil.
func WithCodec(codec scs.Codec) Option {
	if codec == nil {
		panic("scsstore: WithCodec: the codec is nil")
	}
	return func(s *Store) { s.codec = codec }
}

// WithOwner gives each session an owner, from its values: [session.Principal] of the user who has logged in, "" as long
// as none has. With [session.WithOwnerIndex], [session.Revoker] then ends all sessions of a user, and [session.Lister]
// shows them. owner must not change the values, may be called at any time, and concurrently. It panics when owner is
// nil.
//
// Without this option all sessions belong to one owner of this package, which is what [Store.AllCtx] needs.
func WithOwner(owner func(values map[string]any) string) Option {
	if owner == nil {
		panic("scsstore: WithOwner: owner is nil")
	}
	return func(s *Store) { s.owner = owner }
}

// New returns a store, for [scs.SessionManager].Store. The storage, which must be a [session.Creator], stays the
// caller's to close. It may have other sessions as well, but no [session.WithOwnerLimit] unless there is a [WithOwner].
// New panics when st is no Creator.
func New(st session.Storage, opts ...Option) *Store {
	if _, ok := st.(session.Creator); !ok {
		panic(fmt.Sprintf("scsstore: New: the storage, a %T, is no Creator", st))
	}
	s := &Store{storage: st, codec: scs.GobCodec{}}
	for _, opt := range opts {
		opt(s)
	}
	return s
}

// sessionType is the type of the sessions of this package.
const sessionType session.Type = "scs"

// idOf returns the id of the session with a token. What a cookie says names no session of another kind.
func idOf(token string) string { return "scs:" + token }

// FindCtx returns the data of a session, whose idle time starts anew. A malformed token is not found.
func (s *Store) FindCtx(ctx context.Context, token string) (b []byte, found bool, err error) {
	stored, err := s.storage.Load(ctx, idOf(token))
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrInvalidID):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	s.requests.add(ctx, token, stored)
	return stored.Data(), true, nil
}

// CommitCtx stores the data of a session, if they or the session's end have changed. The session is new if its request
// has not found it. If it was found, and has ended since, nothing is stored.
func (s *Store) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	if !time.Now().Before(expiry) {
		return s.DeleteCtx(ctx, token)
	}
	found := s.requests.find(ctx, token)
	if found != nil && s.unchanged(found, b, expiry) {
		return nil // whatever others have changed meanwhile
	}
	change, err := s.changeTo(b, expiry)
	if err != nil {
		return err
	}
	committed, err := s.write(ctx, idOf(token), found == nil, func(stored *session.Session) (*session.Session, error) {
		if s.unchanged(stored, b, expiry) {
			return stored, nil
		}
		return change(stored), nil
	})
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrLifetime) && !time.Now().Before(expiry):
		return nil // it has ended
	case err != nil:
		return err
	}
	s.requests.add(ctx, token, committed) // the request may commit again
	return nil
}

// write stores a session that is new, or changes the one that there is.
func (s *Store) write(
	ctx context.Context, id string, isNew bool, change func(*session.Session) (*session.Session, error),
) (*session.Session, error) {
	if isNew {
		first, _ := change(session.New(id).WithType(sessionType))
		if err := session.Create(ctx, s.storage, first); !errors.Is(err, session.ErrExists) {
			return first, err
		}
	}
	return session.Update(ctx, s.storage, id, change)
}

// DeleteCtx ends a session. It is no error when there is none.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	err := s.storage.Delete(ctx, idOf(token))
	if errors.Is(err, session.ErrInvalidID) {
		return nil
	}
	return err
}

// Find is FindCtx without a context.
func (s *Store) Find(token string) (b []byte, found bool, err error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
