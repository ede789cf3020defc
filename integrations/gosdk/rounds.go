package gosdk

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sync/errgroup"
)

// modern is the version of the protocol from which on a client is asked with a result, and repeats its call by itself.
const modern = "2026-07-28"

// rounds calls the handler, and again with the client's answers for as long as it asks, if this is a client that cannot
// repeat its call by itself. The SDK does this, too, but gives the handler's second question to the client as its final
// result: the client of an older protocol sees a success without content.
func (g *guarded) rounds(
	ctx context.Context, c call, req mcp.Request, next mcp.MethodHandler,
) (mcp.Result, error) {
	ss, ok := req.GetSession().(*mcp.ServerSession)
	if !ok || ss == nil || !isLegacy(ss) {
		return next(ctx, c.method, req)
	}
	for calls := callsOfSDK; ; calls += callsOfSDK {
		res, err := next(ctx, c.method, req)
		if err != nil {
			return nil, explained(err, req, ss)
		}
		a, ok := answerOf(res)
		switch {
		case !ok || a.requests == nil:
			return res, nil
		case len(a.requests) == 0:
			return nil, errBusy
		case calls >= g.legacyRounds:
			return nil, errRounds
		}
		responses, err := ask(ctx, ss, a.requests)
		if err != nil {
			return nil, err
		}
		req = c.with(a.state, responses)
	}
}

// callsOfSDK is how often the SDK calls a handler that asks, each time that the middleware calls the SDK.
const callsOfSDK = 2

// isLegacy is the SDK's own criterion, so that the client is asked either by the result or by the server.
func isLegacy(ss *mcp.ServerSession) bool {
	params := ss.InitializeParams()
	return params != nil && params.ProtocolVersion < modern
}

// explained returns a clear error when the client of an older protocol cannot be asked: there is no way to it from a
// server without sessions. The SDK then says that the client does not support it.
func explained(err error, req mcp.Request, ss *mcp.ServerSession) error {
	extra := req.GetExtra()
	sessionless := ss.ID() == "" && extra != nil && extra.Header != nil
	if sessionless && strings.HasPrefix(err.Error(), "multi-round-trip: ") {
		return errCannotAsk
	}
	return err
}

// ask sends all questions to the client, and waits for all answers, or for the first error.
func ask(ctx context.Context, ss *mcp.ServerSession, requests mcp.InputRequestMap) (mcp.InputResponseMap, error) {
	calls, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	responses := make(mcp.InputResponseMap, len(requests))
	for id, request := range requests {
		calls.Go(func() error {
			response, err := askOne(ctx, ss, request)
			if err != nil {
				return fmt.Errorf("the client has not answered %q: %w", id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			responses[id] = response
			return nil
		})
	}
	if err := calls.Wait(); err != nil {
		return nil, err
	}
	return responses, nil
}

func askOne(ctx context.Context, ss *mcp.ServerSession, request mcp.InputRequest) (mcp.InputResponse, error) {
	//nolint:staticcheck // sampling and roots are deprecated, but handlers may still ask for them
	switch p := request.(type) {
	case *mcp.ElicitParams:
		return ss.Elicit(ctx, p)
	case *mcp.CreateMessageParams:
		return ss.CreateMessageWithTools(ctx, withTools(p))
	case *mcp.CreateMessageWithToolsParams:
		return ss.CreateMessageWithTools(ctx, p)
	case *mcp.ListRootsParams:
		return ss.ListRoots(ctx, p)
	default:
		return nil, fmt.Errorf("unknown kind of question: %T", request)
	}
}

// withTools converts a request for sampling as the SDK does, so that its answer has the type that it has for clients
// which repeat their calls by themselves.
//
//nolint:staticcheck // sampling is deprecated, but handlers may still ask for it
func withTools(p *mcp.CreateMessageParams) *mcp.CreateMessageWithToolsParams {
	messages := make([]*mcp.SamplingMessageV2, 0, len(p.Messages))
	for _, m := range p.Messages {
		messages = append(messages, &mcp.SamplingMessageV2{Role: m.Role, Content: []mcp.Content{m.Content}})
	}
	return &mcp.CreateMessageWithToolsParams{
		Meta: p.Meta, Messages: messages, SystemPrompt: p.SystemPrompt, IncludeContext: p.IncludeContext,
		MaxTokens: p.MaxTokens, StopSequences: p.StopSequences, Temperature: p.Temperature,
		ModelPreferences: p.ModelPreferences, Metadata: p.Metadata,
	}
}
