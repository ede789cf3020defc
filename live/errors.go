package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
)

// ErrClosed: the set of objects was closed.
var ErrClosed = errors.New("live: closed")

var (
	errOpenTimeout = fmt.Errorf("live: open: it did not return in time: %w", context.DeadlineExceeded)
	errStillOpens  = fmt.Errorf("live: open: an earlier call has not returned: %w", context.DeadlineExceeded)
	errNoReturn    = errors.New("live: open: it ended its goroutine")
	errWrong       = fmt.Errorf("live: get: the storage has returned another session: %w", session.ErrCorrupt)
)

// isGone reports whether an error is the storage's answer that there is no such session. An outage may match
// ErrNotFound, too, if the storage is not one of package session: then it counts as an outage.
func isGone(err error) bool {
	return errors.Is(err, session.ErrNotFound) &&
		!errors.Is(err, session.ErrUnavailable) && !errors.Is(err, session.ErrClosed)
}

// contain turns a panic into an error. Defer it. Neither the error nor the log shows the panic's value, which may
// contain an id.
func (o *options) contain(call string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	*err = errs.Reason("live: %s: panic (%T)", call, value)
	o.logger.LogAttrs(context.Background(), slog.LevelError, "live: a panic was contained",
		slog.String("call", call), slog.String("type", fmt.Sprintf("%T", value)),
		slog.String("stack", string(debug.Stack())))
}

// These are the functions of others as they are called on goroutines of this package.

func (o *Objects[T]) callOpen(ctx context.Context, s *session.Session) (object T, err error) {
	defer o.contain("open", &err)
	return o.open(ctx, s)
}

func (o *Objects[T]) callClose(object T, reason Reason) (err error) {
	defer o.contain("close", &err)
	o.closer(object, reason)
	return nil
}

func (o *Objects[T]) callPeek(ctx context.Context, peek peekFunc, id string) (s *session.Session, err error) {
	defer o.contain("peek", &err)
	return peek(ctx, id)
}

// callSame is isSame for which a panic means no: what is not known to be the same may be another.
func (o *options) callSame(before, after *session.Session) bool {
	var same bool
	err := func() (err error) {
		defer o.contain("same", &err)
		same = o.isSame(before, after)
		return nil
	}()
	return err == nil && same
}
