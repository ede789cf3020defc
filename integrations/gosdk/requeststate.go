package gosdk

import (
	"context"
	"errors"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session/requeststate"
)

// RequestState returns middleware that guards the requestState of a server's tools, prompts and resources. Handlers
// stay as they are: they set InputRequests and RequestState in a result, and find that RequestState in the params of
// the repeated call. The middleware seals it on its way to the client, and opens what the client presents. A handler
// never sees a requestState that was not sealed for the same principal, method, name and arguments.
//
//	server.AddReceivingMiddleware(gosdk.RequestState(guard))
//
// In both eras of the protocol a client may send a requestState, so both are checked. Clients of the protocol before
// 2026-07-28 never receive one with a question: the middleware asks them itself, see [WithLegacyRounds].
//
// The client gets a JSON-RPC error instead of a result, and the handler is not called, or its result is withheld:
//
//   - -32602, "invalid or expired requestState", when the guard rejects what the client has presented. The client has
//     to begin anew. The reason is logged, see [WithLogger]. The same code when a call cannot go on later, because its
//     arguments are ambiguous, see [requeststate.Binding].
//   - -32603, "unavailable at the moment, try again", when the storage of the guard is. The same requestState works
//     later, unless it was used up: the storage has opened it, and its answer was lost, or the outage came after that.
//     Then it is rejected, and the client has to begin anew. That is so with [requeststate.Stored] and with
//     [requeststate.Once], which open nothing twice.
//   - -32603 when the user has too many calls pending ([session.ErrTooMany]), and for mistakes of the program: a state
//     that is too large, or no principal. The log has the error.
//
// What is guarded is the state, not the answers beside it: a client may send any InputResponses, also to questions that
// were never asked. So a handler that must have asked before it acts notes that in its state. A state without
// InputRequests is sealed, too. An empty state is none.
//
// In a result of resources/read that asks, Contents must be empty but not nil: go-sdk 1.8 refuses nil for a client of
// an older protocol, before it looks for questions.
//
// Middleware that is added to the server after this one sees sealed states, middleware that is added before it sees
// open ones. RequestState panics when guard is nil. What it returns is safe for concurrent use, and may be added to any
// number of servers.
func RequestState(guard requeststate.Guard, opts ...Option) mcp.Middleware {
	if guard == nil {
		panic("gosdk: RequestState: the guard is nil")
	}
	g := &guarded{options: apply(opts), guard: guard}
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			c, ok := callOf(method, req)
			if !ok {
				return next(ctx, method, req)
			}
			return g.handle(ctx, c, next)
		}
	}
}

type guarded struct {
	options
	guard requeststate.Guard
}

func (g *guarded) handle(ctx context.Context, c call, next mcp.MethodHandler) (mcp.Result, error) {
	req := c.request
	if c.state != "" {
		state, err := g.open(ctx, c)
		if err != nil {
			return nil, err
		}
		req = c.with(state, c.responses)
	}
	res, err := g.rounds(ctx, c, req, next)
	if err != nil {
		return nil, err
	}
	a, ok := answerOf(res)
	if !ok || a.state == "" {
		return res, nil
	}
	sealed, err := g.seal(ctx, c, a.state)
	if err != nil {
		return nil, err
	}
	return a.with(sealed), nil
}

func (g *guarded) open(ctx context.Context, c call) (string, error) {
	binding, err := g.binding(ctx, c)
	if err != nil {
		return "", err
	}
	state, err := g.guard.Open(ctx, binding, c.state)
	switch {
	case err == nil:
		return string(state), nil
	// Without a principal nothing is ever sealed, so a requestState without one is invented.
	case errors.Is(err, requeststate.ErrRejected), errors.Is(err, requeststate.ErrIncomplete):
		g.logger.LogAttrs(ctx, slog.LevelWarn, "gosdk: requestState rejected",
			slog.String("method", c.method), slog.String("reason", reason(err)))
		return "", errRejected
	default:
		return "", g.failed(ctx, "opened", c, err)
	}
}

func (g *guarded) seal(ctx context.Context, c call, state string) (string, error) {
	binding, err := g.binding(ctx, c)
	if err != nil {
		return "", err
	}
	sealed, err := g.guard.Seal(ctx, binding, []byte(state))
	switch {
	case err == nil:
		return sealed, nil
	case errors.Is(err, requeststate.ErrRejected):
		g.logger.LogAttrs(ctx, slog.LevelWarn, "gosdk: call cannot ask for input",
			slog.String("method", c.method), slog.String("reason", reason(err)))
		return "", errArguments
	default:
		return "", g.failed(ctx, "sealed", c, err)
	}
}

// binding names the request. The principal is the one of the request's own token. The context would not do: in a
// stateful session it is the context of its first request, with the token of then.
func (g *guarded) binding(ctx context.Context, c call) (requeststate.Binding, error) {
	principal, err := g.principal(c.request.GetExtra())
	if err != nil {
		// The error is not logged: it is foreign, and may show a token.
		g.logger.LogAttrs(ctx, slog.LevelError, "gosdk: the function of WithPrincipal has failed",
			slog.String("method", c.method))
		return requeststate.Binding{}, errUnavailable
	}
	return requeststate.Binding{Principal: principal, Method: c.method, Name: c.name, Arguments: c.arguments()}, nil
}

// failed logs why a state could not be sealed or opened, and returns what the client gets to know.
func (g *guarded) failed(ctx context.Context, done string, c call, err error) error {
	answer := answerTo(err)
	level := slog.LevelError
	if answer == errTooMany {
		level = slog.LevelWarn
	}
	g.logger.LogAttrs(ctx, level, "gosdk: requestState could not be "+done,
		slog.String("method", c.method), slog.Any("error", err))
	return answer
}

func reason(err error) string {
	if text := requeststate.Reason(err); text != "" {
		return text
	}
	return err.Error()
}
