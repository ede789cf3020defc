package session

import (
	"context"
	"errors"
)

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
// An error that matches several of these counts as an outage first: it must not end the session of a client.
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
