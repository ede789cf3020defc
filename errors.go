package session

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/seed34611480/session/internal/errs"
)

// Every error of this package, but for those of [NewKeyRing], matches one of these with [errors.Is], or
// [errors.ErrUnsupported], or the error of the caller's context. It never matches two of these. The cause, where there
// is one, stays reachable with [errors.Is] and [errors.As].
//
// The text of an error is safe to log: it never contains a session id, nor anything of a session. Of a foreign error, a
// client's for example, it shows only what is known to be safe: the code of a Redis reply, an address, the text of a
// system error. The rest it replaces by "(details hidden: <type>)". That also holds for an error in which the storage
// behind a [RoutingStorage] has wrapped one of these: the sentinel is passed on, and the text around it is hidden.
var (
	// ErrNotFound: there is no such session. It was deleted, or it expired, or it never existed. Only the storage's own
	// answer makes this error, never a failure to ask it.
	ErrNotFound = errors.New("session: not found")

	// ErrExists: [Creator.Create] found a session with that id.
	ErrExists = errors.New("session: already exists")

	// ErrLifetime: a session that is new is past its ExpiresAt, or a session would never end: it has neither an idle
	// time-out nor an ExpiresAt. It was not stored.
	ErrLifetime = errors.New("session: invalid lifetime")

	// ErrTooMany: the owner of the session has as many sessions as [WithOwnerLimit] allows. It was not stored.
	ErrTooMany = errors.New("session: too many sessions of one owner")

	// ErrConflict: the stored session has changed since the caller loaded it. Load it again, repeat the change, store
	// again; [Update] does that.
	ErrConflict = errors.New("session: changed by another writer")

	// ErrInvalidID: the id is not 1 to 4,096 bytes of visible ASCII, or the session is nil.
	ErrInvalidID = errors.New("session: invalid id")

	// ErrTooLarge: the session is larger than the storage accepts, see [WithMaxSize].
	ErrTooLarge = errors.New("session: too large")

	// ErrCorrupt: the value stored under the id is not a session of that id, or comes from a version of this package
	// that this one cannot read. The value is left alone. Of [Session.Decode]: the data are no JSON of the caller's type.
	ErrCorrupt = errors.New("session: corrupt value")

	// ErrEncode: the [Codec] could not encode the session, which was not stored. To try again is of no use.
	ErrEncode = errors.New("session: cannot be encoded")

	// ErrUnavailable: the storage could not be asked, or did not answer in time. Nothing is known about the session;
	// after a failed write, not even whether it was executed, or still will be. [RedisStorage] says what it settles by
	// itself. Answer with 503, not with 404.
	ErrUnavailable = errors.New("session: storage unavailable")

	// ErrClosed: the storage was closed.
	ErrClosed = errors.New("session: storage closed")
)

// opError names the operation that failed, the sentinel that it matches, and the cause. Its text is safe to show.
type opError struct {
	op    string // "" if the caller adds it
	kind  error  // a sentinel, or the error of the caller's context
	cause error  // may be nil
}

func (e *opError) Error() string {
	text := prefix
	if e.op != "" {
		text += e.op + ": "
	}
	text += strings.TrimPrefix(e.kind.Error(), prefix)
	if e.cause == nil || errors.Is(e.kind, context.Canceled) || errors.Is(e.kind, context.DeadlineExceeded) {
		return text // what the end of a context has caused says nothing more
	}
	return text + ": " + errs.Shown(e.cause)
}

// SafeText is the text without the package's name, for an error that wraps this one.
func (e *opError) SafeText() string { return strings.TrimPrefix(e.Error(), prefix) }

// GoString keeps %#v from printing the text of the cause.
func (e *opError) GoString() string { return e.Error() }

func (e *opError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, cause{e.cause}}
}

const prefix = "session: "

// cause is what [opError] wraps beside its kind. It matches everything that the error matches, but for this package's
// sentinels: an outage stays one when the dialer's error matches [errors.ErrUnsupported] (a system call did) or
// [ErrNotFound] (a hook looked something up).
type cause struct{ error }

func (c cause) Is(target error) bool {
	if target == errors.ErrUnsupported || slices.Contains(sentinels, target) {
		return false
	}
	return errors.Is(c.error, target)
}

func (c cause) As(target any) bool { return errors.As(c.error, target) }

func opErr(op string, kind error) error { return &opError{op: op, kind: kind} }

func opErrBecause(op string, kind, cause error) error {
	return &opError{op: op, kind: kind, cause: cause}
}

// errNilSession is the cause of an [ErrInvalidID].
const errNilSession = errs.SafeError("the session is nil")

func tooLarge(op string, size, limit int) error {
	return opErrBecause(op, ErrTooLarge, errs.Reason("%d bytes, the limit is %d", size, limit))
}

// sentinels are the errors that a storage may return, beside errors.ErrUnsupported. Its callers take any other error
// for an outage. What matches two of them counts as the first.
var sentinels = []error{
	ErrUnavailable, ErrClosed, ErrNotFound, ErrExists, ErrConflict, ErrInvalidID, ErrTooLarge, ErrLifetime, ErrTooMany,
	ErrCorrupt, ErrEncode,
}

// sentinelOf returns the sentinel that an error of a storage matches, or nil: then it is foreign, and an outage.
func sentinelOf(err error) error {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	if errs.Unsupported(err) {
		return errors.ErrUnsupported
	}
	return nil
}

// inOurTerms returns an error of another storage as an error of this package.
func inOurTerms(op string, err error) error {
	if err == nil {
		return nil
	}
	if sentinel := sentinelOf(err); sentinel != nil {
		return passOn(op, sentinel, err)
	}
	return opErrBecause(op, ErrUnavailable, err)
}

// passOn returns an error of another storage that matches a sentinel in a form whose text is safe to show. Errors that
// this package made, and bare sentinels, are safe already.
func passOn(op string, sentinel, err error) error {
	if _, ok := err.(*opError); ok || err == sentinel { //nolint:errorlint // what wraps these adds foreign text
		return err
	}
	return opErrBecause(op, sentinel, err)
}

// HTTPStatus returns the status with which an HTTP server should answer when a storage, a helper or the cause of a
// [KeepAlive] has returned err. Which text to send is the caller's: the error's own is for the log.
//
//	200  nil
//	400  ErrInvalidID
//	404  ErrNotFound; ErrCorrupt: the client has to begin anew, and clients repeat what was answered with 500 for ever.
//	     Log it, a value in the storage is damaged.
//	409  ErrConflict, ErrExists; ErrTooMany: the user may end another session. It is not 429, which RFC 6585 has for the
//	     rate of requests: to wait and try again is of no use.
//	413  ErrTooLarge
//	503  ErrUnavailable, ErrClosed; the end of a context: the server shuts down or has no time left. If it is the client
//	     that has gone, no one reads the answer.
//	500  everything else, as ErrEncode, ErrLifetime and errors.ErrUnsupported: mistakes of the program
//
// An error that matches several of these counts as ErrUnavailable or ErrClosed first: an outage must not end the
// session of a client. It counts as the end of a context last: an answer came in time.
func HTTPStatus(err error) int {
	if err == nil {
		return 200
	}
	switch sentinelOf(err) {
	case ErrUnavailable, ErrClosed: //nolint:errorlint // it is one of ours
		return 503
	case ErrNotFound, ErrCorrupt:
		return 404
	case ErrInvalidID:
		return 400
	case ErrConflict, ErrExists, ErrTooMany:
		return 409
	case ErrTooLarge:
		return 413
	case nil:
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return 503
		}
	}
	return 500
}
