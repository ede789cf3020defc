package gosdk

import (
	"context"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

// What a client gets to know. None of it tells an attacker which check has failed.
var (
	errRejected = &jsonrpc.Error{
		Code: jsonrpc.CodeInvalidParams, Message: "invalid or expired requestState: call again without it",
	}
	errArguments = &jsonrpc.Error{
		Code: jsonrpc.CodeInvalidParams, Message: "the arguments are ambiguous: send each member once",
	}
	errUnavailable = &jsonrpc.Error{
		Code: jsonrpc.CodeInternalError, Message: "unavailable at the moment, try again",
	}
	errTooMany = &jsonrpc.Error{
		Code: jsonrpc.CodeInternalError, Message: "too many calls wait for your answers: answer one, or try again later",
	}
	errInternal = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
	errBusy     = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the server is busy, try again later"}
	errRounds   = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the call asks for input again and again"}

	errCannotAsk = &jsonrpc.Error{
		Code:    jsonrpc.CodeInternalError,
		Message: "the call needs input, for which this server cannot ask before protocol version " + modern,
	}
)

// answerTo returns what a client gets to know of an error of a guard, other than a rejection.
func answerTo(err error) *jsonrpc.Error {
	switch {
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errUnavailable
	case errors.Is(err, session.ErrTooMany):
		return errTooMany
	case errors.Is(err, requeststate.ErrIncomplete), errors.Is(err, session.ErrTooLarge),
		errors.Is(err, session.ErrEncode), errors.Is(err, session.ErrLifetime), errors.Is(err, errors.ErrUnsupported):
		return errInternal
	default:
		return errUnavailable // an error of a guard of the caller's own
	}
}
