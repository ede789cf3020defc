package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session"
)

// tally counts the writes of a replica.
type tally struct {
	session.Storage

	writes    atomic.Uint64
	deletedAt atomic.Pointer[time.Time] // when the last Delete returned
}

func (t *tally) Store(ctx context.Context, s *session.Session) error {
	defer t.writes.Add(1)
	return t.Storage.Store(ctx, s)
}

func (t *tally) Delete(ctx context.Context, id string) error {
	err := t.Storage.Delete(ctx, id)
	now := time.Now()
	t.deletedAt.Store(&now)
	t.writes.Add(1)
	return err
}
