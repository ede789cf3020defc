package mcphttp

import (
	"errors"
	"net/http"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/errs"
)

// ErrShutdown is the cause with which the context of a request ends that Shutdown cuts, see [context.Cause].
var ErrShutdown = errors.New("mcphttp: shutting down")

// errNoOwner: the function of [WithOwner] has returned no owner.
var errNoOwner = errors.New("mcphttp: the request has no owner")

// errNotStored: a session that a server has begun could not be stored.
var errNotStored = errors.New("mcphttp: the session could not be stored")

// errRepeated: a header that must be there once at most is there several times.
var errRepeated = errors.New("mcphttp: repeated header")

// retryAfter is how many seconds a client waits before it tries again.
const retryAfter = "1"

// WriteError answers a request that has failed with err: an error of a [session.Storage], the cause of the end of a
// context ([context.Cause]), or that of [http.MaxBytesReader]. The status is that of [session.HTTPStatus], 503 for
// [ErrShutdown], and 413 for a body that is too large. A 503 has a Retry-After of one second. nil writes nothing.
//
// The answer is plain text, and says nothing of err. That a client gives its session up on 404 depends on it: go-sdk
// takes a 404 with a JSON-RPC error in its body for the failure of one call.
func WriteError(w http.ResponseWriter, err error) {
	if err == nil {
		return
	}
	status, text := answerTo(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, text, status)
}

// answerTo returns what a client is told about an error.
func answerTo(err error) (status int, text string) {
	switch {
	case errors.Is(err, ErrShutdown):
		return http.StatusServiceUnavailable, "the server is shutting down, try again"
	case errors.Is(err, errNotStored):
		return http.StatusServiceUnavailable, "the session could not begin, try again"
	case errors.Is(err, errNoOwner):
		return http.StatusUnauthorized, "the request is not authenticated"
	case errors.Is(err, errRepeated):
		return http.StatusBadRequest, "a header is repeated that must be there once"
	case isTooLarge(err):
		return http.StatusRequestEntityTooLarge, "the request is too large"
	}
	switch status = session.HTTPStatus(err); status {
	case http.StatusBadRequest:
		return status, "no valid Mcp-Session-Id"
	case http.StatusNotFound:
		return status, "the session has ended or never existed"
	case http.StatusConflict:
		return status, "too many sessions, or changed by another request"
	case http.StatusRequestEntityTooLarge:
		return status, "the session is too large"
	case http.StatusServiceUnavailable:
		return status, "unavailable at the moment, try again"
	}
	return status, http.StatusText(status)
}

// isTooLarge reports whether an error is that of a body which is longer than its limit.
func isTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}

// fail answers with an error, and logs it when only the server's operator can mend its cause.
func (o *options) fail(w http.ResponseWriter, err error) {
	if status, _ := answerTo(err); status == http.StatusInternalServerError || errors.Is(err, session.ErrCorrupt) {
		o.logger.Error("mcphttp: a request has failed", "error", errs.Shown(err))
	}
	WriteError(w, err)
}
