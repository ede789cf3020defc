package nearcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// PanicError is a panic of the source on a goroutine of the cache, where its caller could not recover it. Its text
// leaves the panic's value out: it may contain an id.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic (%T) in a call to the source", e.Value)
}

var errWrongNumber = errors.New("nearcache: Unchanged gave another number of answers")

// contain turns a panic of the source into an error. Defer it.
func (c *Cache[V]) contain(err *error) {
	if value := recover(); value != nil {
		c.stats.panics.Add(1)
		panicked := &PanicError{Value: value, Stack: debug.Stack()}
		if c.config.Panicked != nil {
			c.config.Panicked(panicked)
		}
		*err = panicked
	}
}

// Contained calls f, and turns its panic into a PanicError, which counts as one of the source.
func (c *Cache[V]) Contained(f func() error) (err error) {
	defer c.contain(&err)
	return f()
}

// load is Config.Load with its panics contained.
func (c *Cache[V]) load(ctx context.Context, id string) (value *V, revision uint64, err error) {
	defer c.contain(&err)
	return c.config.Load(ctx, id)
}

// unchanged is Config.Unchanged with its panics contained, and with an answer for each use.
func (c *Cache[V]) unchanged(ctx context.Context, uses []Use) (unchanged []bool, err error) {
	defer c.contain(&err)
	unchanged, err = c.config.Unchanged(ctx, uses)
	if err == nil && len(unchanged) != len(uses) {
		err = errWrongNumber
	}
	return unchanged, err
}

// noUnchangedLocked takes in that Unchanged is unsupported.
func (c *Cache[V]) noUnchangedLocked() {
	c.noUnchanged.Store(true)
	c.refresh.batch, c.refresh.linger = 1, 0
}
