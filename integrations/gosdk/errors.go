package gosdk

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/requeststate"
)

// What a client gets to know. None of it tells an attacker which check has failed.
var (
	errUnavailable = internalError("unavailable at the moment, try again")
	errInternal    = internalError("internal error")
	errBusy        = internalError("the server is busy, try again later")

	// Of a requestState, and of handlers that ask.
	errRejected  = invalidParams("invalid or expired requestState: call again without it")
	errArguments = invalidParams("the arguments are ambiguous: send each member once")
	errTooMany   = internalError("too many calls wait for your answers: answer one, or try again later")
	errRounds    = internalError("the call asks for input again and again")
	errCannotAsk = internalError(
		"the call needs input, for which this server cannot ask before protocol version " + modern)

	// Of a task.
	errUnknownTask    = invalidParams("unknown or expired task")
	errBadResponse    = invalidParams("an input response does not fit what was asked for")
	errTaskTooLarge   = invalidParams("what was sent is too large to be kept in a task")
	errTooManyTasks   = internalError("too many tasks: wait for one to end, or cancel it")
	errHeaderMismatch = &jsonrpc.Error{
		Code: mcp.CodeHeaderMismatch, Message: "header mismatch: Mcp-Name is not the taskId",
	}
	errMissingTasks = &jsonrpc.Error{
		Code: mcp.CodeMissingRequiredClientCapabilities, Message: "missing required client capability",
		Data: json.RawMessage(`{"requiredCapabilities":{"extensions":{"` + tasksExtension + `":{}}}}`),
	}

	// Why a task has failed, if it was not its handler.
	errRunnerDied     = internalError("the server that ran the task has stopped")
	errRunnerClosed   = internalError("the server that ran the task was shut down")
	errResultTooLarge = internalError("the result is too large to be kept")
)

func invalidParams(message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: message}
}

func internalError(message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: message}
}

// answerTo returns what a client gets to know of an error of a guard, other than a rejection, or of a storage.
func answerTo(err error) *jsonrpc.Error {
	switch {
	case isAway(err):
		return errUnavailable
	case errors.Is(err, session.ErrTooMany):
		return errTooMany
	case errors.Is(err, requeststate.ErrIncomplete), errors.Is(err, session.ErrTooLarge),
		errors.Is(err, session.ErrEncode), errors.Is(err, session.ErrLifetime), errs.Unsupported(err):
		return errInternal
	default:
		return errUnavailable // an error of a guard or a storage of the caller's own
	}
}

// taskError returns what a client gets to know of an error of the storage.
func (t *Tasks) taskError(op string, err error) error {
	level := slog.LevelError
	defer func() { t.log(level, op, err) }()
	switch {
	case errors.Is(err, errNoResponse):
		level = slog.LevelDebug
		return errBadResponse
	case errors.Is(err, session.ErrNotFound), errors.Is(err, handle.ErrNoOwner):
		level = slog.LevelDebug
		return errUnknownTask
	case errors.Is(err, session.ErrCorrupt):
		return errUnknownTask
	case errors.Is(err, session.ErrTooMany):
		level = slog.LevelWarn
		return errTooManyTasks
	case errors.Is(err, session.ErrTooLarge):
		level = slog.LevelWarn
		return errTaskTooLarge
	default:
		return answerTo(err)
	}
}

// isAway reports whether an error says that a storage could not be asked.
func isAway(err error) bool {
	return errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isOutage reports whether an error of a storage says nothing about what is stored, nor whether it was changed.
func isOutage(err error) bool {
	return err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrCorrupt) &&
		answerTo(err) == errUnavailable
}
