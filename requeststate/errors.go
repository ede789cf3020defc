package requeststate

import (
	"errors"
	"log/slog"
)

var (
	// ErrRejected: the client must begin anew. What it has presented was not sealed by this server, or for another user,
	// method, name or other arguments, or it was altered, has expired, or was used; or its arguments are refused. To tell
	// these apart would help an attacker, so the text of the error is always the same; see [Reason]. In the Model Context
	// Protocol the answer is the JSON-RPC error -32602, invalid params.
	ErrRejected = errors.New("requeststate: rejected")

	// ErrIncomplete: the binding has no method, no name, or no principal, and the guard is not [Anonymous]. It is a
	// mistake of the program, not of a client.
	ErrIncomplete = errors.New("requeststate: the binding is incomplete")
)

// rejection is an ErrRejected. Its text does not tell the reason, but a log does.
type rejection struct{ reason string }

func rejected(reason string) error { return &rejection{reason} }

func (r *rejection) Error() string { return ErrRejected.Error() }

// GoString keeps %#v from printing the reason.
func (r *rejection) GoString() string { return r.Error() }

func (r *rejection) Is(target error) bool { return target == ErrRejected }

// LogValue implements [slog.LogValuer]: a structured log shows the reason, as long as no other error wraps this one.
func (r *rejection) LogValue() slog.Value { return slog.StringValue(r.Error() + ": " + r.reason) }

// Reason returns why an error is [ErrRejected], or "" if it is not. It is for a log, not for the client. It contains
// nothing of the request, of the state, or of who has sent it.
func Reason(err error) string {
	if r, ok := errors.AsType[*rejection](err); ok {
		return r.reason
	}
	return ""
}
