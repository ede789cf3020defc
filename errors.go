package session

import (
	"errors"
	"strings"
)

// Every error of this package matches one of these with [errors.Is], or the error of the caller's context. The cause,
// where there is one, stays reachable with [errors.Is] and [errors.As]. The text of an error never contains a session
// id.
var (
	// ErrNotFound: there is no such session. It was deleted, or it expired, or it never was. It is said only when the
	// storage itself said so, never because the storage could not be asked.
	ErrNotFound = errors.New("session: not found")

	// ErrExists: [Creator.Create] found a session with that id.
	ErrExists = errors.New("session: already exists")

	// ErrConflict: the stored session has changed since the one that was to be stored was loaded. Load it again,
	// repeat the change, store again; [Update] does that.
	ErrConflict = errors.New("session: changed by another writer")

	// ErrInvalidID: the id is not 1 to 256 bytes of visible ASCII, or the session is nil.
	ErrInvalidID = errors.New("session: invalid id")

	// ErrTooLarge: the session is larger than the storage accepts, see [WithMaxSize].
	ErrTooLarge = errors.New("session: too large")

	// ErrCorrupt: what is stored under the id is not a session of that id, or is from a version of this package that
	// this one cannot read. The stored value is left alone.
	ErrCorrupt = errors.New("session: corrupt value")

	// ErrUnavailable: the storage could not be asked, or did not answer in time. Nothing is known about the session;
	// after a failed write, not even whether it took place. Answer with 503, not with 404.
	ErrUnavailable = errors.New("session: storage unavailable")

	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("session: storage closed")
)

// opError says which operation failed, with which of the sentinels, and why.
type opError struct {
	op     string
	kind   error  // a sentinel, or the error of the caller's context
	cause  error  // may be nil
	detail string // what of the cause is fit to be shown: without ids
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

func fail(op string, kind error) error { return &opError{op: op, kind: kind} }

func failBecause(op string, kind, cause error, detail string) error {
	return &opError{op: op, kind: kind, cause: cause, detail: detail}
}

// sentinels are the kinds of failure that a storage may report by itself. Anything else is an outage to its callers.
var sentinels = []error{
	ErrNotFound, ErrExists, ErrConflict, ErrInvalidID, ErrTooLarge, ErrCorrupt, ErrUnavailable, ErrClosed,
	errors.ErrUnsupported,
}

// known reports whether an error already says what it means in this package's terms.
func known(err error) bool {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// redact makes the text of a foreign error fit to be shown: Redis, for one, quotes the arguments of a command that it
// does not know, and the id is one of them.
func redact(err error, id string) string {
	text := err.Error()
	for _, quote := range []string{" '", " `", " \""} { // not the apostrophe of a "can't"
		text, _, _ = strings.Cut(text, quote)
	}
	if id != "" {
		text = strings.ReplaceAll(text, id, "<id>")
	}
	return text
}
