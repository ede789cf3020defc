// Package backoff pauses between attempts.
package backoff

import (
	"context"
	"time"
)

// Backoff is a pause that doubles with each Wait, from First up to Most. The zero next pause begins with First. It is
// not safe for concurrent use.
type Backoff struct {
	First, Most time.Duration

	next time.Duration
}

// Next returns the next pause: between half of it and the whole, so that processes that failed together do not retry
// together.
func (b *Backoff) Next() time.Duration {
	pause := max(b.next, b.First)
	b.next = min(2*pause, b.Most)
	return Jitter(pause)
}

// Wait sleeps for the next pause. It returns the context's error if that ends first.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Reset makes the next pause the first one again.
func (b *Backoff) Reset() { b.next = 0 }

// Jitter returns a duration between half of d and d. It draws on the nanoseconds of the clock: they are as good as
// chance between processes, and they repeat in virtual time, so that a simulation can be repeated.
func Jitter(d time.Duration) time.Duration {
	half := d / 2
	if half <= 0 {
		return d
	}
	return half + time.Duration(time.Now().UnixNano())%half
}

// Sleep pauses for d, or until the context ends, and then returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
