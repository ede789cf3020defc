package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session"
)

// tally counts the writes of a replica.
type tally struct {
	sessions

	writes    atomic.Uint64
	deletedAt atomic.Pointer[time.Time] // when the last Delete returned
}

func (t *tally) Create(ctx context.Context, s *session.Session) error {
	defer t.writes.Add(1)
	return t.sessions.Create(ctx, s)
}

func (t *tally) Delete(ctx context.Context, id string) error {
	err := t.sessions.Delete(ctx, id)
	now := time.Now()
	t.deletedAt.Store(&now)
	t.writes.Add(1)
	return err
}
