package requeststate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/digest"
	"github.com/seed34611480/session/internal/errs"
)

// Stored is a [Guard] that keeps states in a storage. The client holds 130 random bits. The state is stored under a
// hash of these and the binding, and Open takes it away: it can be opened once, by one of any number of replicas. An
// attempt with another binding asks for another key, so it finds nothing, and uses nothing up.
//
// It needs no keys, and the state may be as large as the storage allows. Who can read the storage finds states there,
// unless the storage seals them, but no requestState that could be presented, and no principal. An owner limit of the
// storage ([session.WithOwnerLimit]) bounds how many states each principal may have pending.
//
// Servers that must not open each other's states need storages of their own, such as with another key prefix: a binding
// does not name the server.
type Stored struct {
	options
	storage session.Storage
}

// NewStored returns a guard on a storage that all replicas share. What is stored is used once, so a local tier is of no
// use: pass the remote itself. The storage belongs to the caller. It panics when the storage is no [session.Taker], and
// with [Once], which this guard does not need.
func NewStored(storage session.Storage, opts ...Option) *Stored {
	if _, ok := storage.(session.Taker); !ok {
		panic(fmt.Sprintf("requeststate: NewStored: the storage, a %T, is no Taker", storage))
	}
	g := &Stored{options: apply(opts), storage: storage}
	if g.once != nil {
		panic("requeststate: NewStored: Once is for NewSealed: what is stored can be used once anyway")
	}
	return g
}

const (
	storedLabel = "github.com/seed34611480/session/requeststate stored"
	ownerLabel  = "github.com/seed34611480/session/requeststate owner"
	storedType  = session.Type("requeststate")
)

// Seal implements [Guard]. Further errors are those of [session.Storage] Store for a new session, such as
// [session.ErrTooLarge], [session.ErrTooMany] and [session.ErrUnavailable].
func (g *Stored) Seal(ctx context.Context, binding Binding, state []byte) (string, error) {
	requestState := rand.Text()
	key, err := g.key(binding, requestState)
	if err != nil {
		return "", err
	}
	now := time.Now()
	record := session.Record{
		ID: key, Type: storedType, Data: state,
		CreatedAt: now, UpdatedAt: now,
		ExpiresAt: now.Add(g.lifetime), IdleTimeout: session.NoIdleTimeout, // it is never loaded, and its TTL may be shorter
	}
	if binding.Principal != "" {
		record.Principal = "requeststate:" + digest.Hex(ownerLabel, binding.Principal)
	}
	if err := g.storage.Store(ctx, session.FromRecord(record)); err != nil {
		return "", err
	}
	return requestState, nil
}

// Open implements [Guard]. Further errors are those of [session.Taker], such as [session.ErrUnavailable].
func (g *Stored) Open(ctx context.Context, binding Binding, requestState string) ([]byte, error) {
	key, err := g.key(binding, requestState)
	if err != nil {
		return nil, err
	}
	taken, err := session.Take(ctx, g.storage, key)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, rejected("there is none: it has expired, was used, or was never sealed for this binding")
	case errors.Is(err, session.ErrCorrupt):
		return nil, rejected(errs.Shown(err))
	case err != nil:
		return nil, err
	case taken.Expired(time.Now()): // while the answer was on its way
		return nil, rejected("it has expired")
	}
	return taken.Data(), nil
}

// key returns the id under which a state is stored.
func (g *Stored) key(binding Binding, requestState string) (string, error) {
	bound, err := binding.digest(&g.options)
	if err != nil {
		return "", err
	}
	return "requeststate:" + digest.Hex(storedLabel, bound, requestState), nil
}
