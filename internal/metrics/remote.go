package metrics

import (
	"context"
	"errors"

	"github.com/seed34611480/session"
)

// The metric of calls to the remote, with its attributes, follows OpenTelemetry's conventions for database clients.
const (
	Duration     = "db.client.operation.duration"
	DurationHelp = "Duration of calls to the remote storage."
	DurationUnit = "s"

	System    = "db.system.name"
	Operation = "db.operation.name"
	ErrorType = "error.type"
)

// DurationBuckets are those that the conventions recommend, in seconds.
var DurationBuckets = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// The kinds of errors, which are the fields of [session.Failures].
const (
	NotFound    = "not_found"
	Unavailable = "unavailable"
	Corrupt     = "corrupt"
	Conflict    = "conflict"
	Limit       = "limit"
	Canceled    = "canceled"
	Other       = "other"
)

// TypeOf returns the kind of an error of package session, or "" for nil.
func TypeOf(err error) string {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return ""
	case is(session.ErrUnavailable):
		return Unavailable
	case is(session.ErrNotFound):
		return NotFound
	case is(session.ErrCorrupt):
		return Corrupt
	case is(session.ErrConflict), is(session.ErrExists):
		return Conflict
	case is(session.ErrTooLarge), is(session.ErrTooMany):
		return Limit
	case is(context.Canceled), is(context.DeadlineExceeded):
		return Canceled
	}
	return Other
}

// IsFault reports whether a kind of error is a fault of the remote, or a mistake: not an ordinary answer, nor the
// caller's change of mind.
func IsFault(kind string) bool {
	switch kind {
	case "", NotFound, Conflict, Canceled:
		return false
	}
	return true
}
