package handle

import "context"

// Owned is a [Store] for one owner: what a request works with, once it is known who has sent it. Its methods are those
// of the store. It is safe for concurrent use.
type Owned[T any] struct {
	store *Store[T]
	owner string
}

// For binds the owner, so that the rest of a request cannot mix it up. It costs nothing.
func (s *Store[T]) For(owner string) Owned[T] { return Owned[T]{s, owner} }

// Mint is [Store.Mint] for the owner.
func (o Owned[T]) Mint(ctx context.Context, value T) (string, error) {
	return o.store.Mint(ctx, o.owner, value)
}

// Load is [Store.Load] for the owner.
func (o Owned[T]) Load(ctx context.Context, handle string) (T, error) {
	return o.store.Load(ctx, o.owner, handle)
}

// Update is [Store.Update] for the owner.
func (o Owned[T]) Update(ctx context.Context, handle string, change func(value *T) error) (T, error) {
	return o.store.Update(ctx, o.owner, handle, change)
}

// Take is [Store.Take] for the owner.
func (o Owned[T]) Take(ctx context.Context, handle string) (T, error) {
	return o.store.Take(ctx, o.owner, handle)
}

// Delete is [Store.Delete] for the owner.
func (o Owned[T]) Delete(ctx context.Context, handle string) error {
	return o.store.Delete(ctx, o.owner, handle)
}

// Revoke is [Store.Revoke] for the owner.
func (o Owned[T]) Revoke(ctx context.Context) (int, error) { return o.store.Revoke(ctx, o.owner) }

// Key is [Store.Key] for the owner.
func (o Owned[T]) Key(handle string) (string, error) { return o.store.Key(o.owner, handle) }
