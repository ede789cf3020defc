package session

import (
	"errors"
	"strings"
)

// Every error of this package matches one of these with [errors.Is], or the error of the caller's context. The cause,
// where there is one, stays reachable with [errors.Is] and [errors.As]. The text of an error never contains a session
// id.
var (
	// ErrNotFound: there is no such session. It was deleted, or it expired, or it never existed. Only the storage's own
	// answer makes this error, never a failure to ask it.
	ErrNotFound = errors.New("session: not found")

	// ErrExists: [Creator.Create] found a session with that id.
	ErrExists = errors.New("session: already exists")

	// ErrConflict: the stored session has changed since the caller loaded it. Load it again, repeat the change, store
	// again; [Update] does that.
	ErrConflict = errors.New("session: changed by another writer")

	// ErrInvalidID: the id is not 1 to 256 bytes of visible ASCII, or the session is nil.
	ErrInvalidID = errors.New("session: invalid id")

	// ErrTooLarge: the session is larger than the storage accepts, see [WithMaxSize].
	ErrTooLarge = errors.New("session: too large")

	// ErrCorrupt: the value stored under the id is not a session of that id, or comes from a version of this package
	// that this one cannot read. The value is left alone.
	ErrCorrupt = errors.New("session: corrupt value")

	// ErrUnavailable: the storage could not be asked, or did not answer in time. Nothing is known about the session;
	// after a failed write, not even whether it was executed. Answer with 503, not with 404.
	ErrUnavailable = errors.New("session: storage unavailable")

	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("session: storage closed")
)

// opError names the operation that failed, the sentinel that it matches, and the cause.
type opError struct {
	op     string
	kind   error  // a sentinel, or the error of the caller's context
	cause  error  // may be nil
	detail string // the part of the cause that may be shown: without ids
}

func (e *opError) Error() string {
	text := "session: " + e.op + ": " + strings.TrimPrefix(e.kind.Error(), "session: ")
	if e.detail != "" {
		text += ": " + e.detail
	}
	return text
}

func (e *opError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

func opErr(op string, kind error) error { return &opError{op: op, kind: kind} }

func opErrBecause(op string, kind, cause error, detail string) error {
	return &opError{op: op, kind: kind, cause: cause, detail: detail}
}

// sentinels are the errors that a storage may return. Its callers take any other error for an outage.
var sentinels = []error{
	ErrNotFound, ErrExists, ErrConflict, ErrInvalidID, ErrTooLarge, ErrCorrupt, ErrUnavailable, ErrClosed,
	errors.ErrUnsupported,
}

// known reports whether an error already matches one of this package's sentinels.
func known(err error) bool {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// redact removes the id from the text of a foreign error. Redis, for one, quotes the arguments of a command that it
// does not know, and the id is one of them.
func redact(err error, id string) string {
	text := err.Error()
	for _, quote := range []string{" '", " `", " \""} { // a space first, to keep the apostrophe of a "can't"
		text, _, _ = strings.Cut(text, quote)
	}
	if id != "" {
		text = strings.ReplaceAll(text, id, "<id>")
	}
	return text
}
