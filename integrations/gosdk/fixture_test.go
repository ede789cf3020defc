package gosdk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

// questions is how often the handlers of the fixture ask before they answer.
const questions = 3

// wizard is a handler that asks three times. Its state has the number of the question that was asked, and all answers
// before. It trusts its state: "3:a,b," makes it skip two questions.
func wizard(state string, responses mcp.InputResponseMap) (next, question string, err error) {
	step, answers := 0, ""
	if state != "" {
		if _, err := fmt.Sscanf(state, "%d:", &step); err != nil {
			return "", "", fmt.Errorf("a state that was never made: %w", err)
		}
		_, answers, _ = strings.Cut(state, ":")
		response, ok := responses["answer"].(*mcp.ElicitResult)
		if !ok || response.Action != "accept" {
			return "", "", fmt.Errorf("no answer to question %d", step)
		}
		answers += fmt.Sprint(response.Content["text"]) + ","
	}
	if step == questions {
		return answers, "", nil
	}
	return fmt.Sprintf("%d:%s", step+1, answers), fmt.Sprintf("question %d", step+1), nil
}

func questionTo(question string) mcp.InputRequestMap {
	return mcp.InputRequestMap{"answer": &mcp.ElicitParams{
		Message: question,
		RequestedSchema: map[string]any{
			"type": "object", "properties": map[string]any{"text": map[string]any{"type": "string"}},
		},
	}}
}

type deployIn struct {
	Service   string `json:"service"`
	Instances int    `json:"instances,omitempty"`
}

const planURI = "deploy://plan"

// newServer returns a server whose tool, prompt and resource are wizards, guarded unless guard is nil.
func newServer(guard requeststate.Guard, opts ...Option) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "deploy"},
		func(_ context.Context, req *mcp.CallToolRequest, in deployIn) (*mcp.CallToolResult, any, error) {
			next, question, err := wizard(req.Params.RequestState, req.Params.InputResponses)
			if err != nil || question == "" {
				return text(in.Service + " with " + next), nil, err
			}
			return &mcp.CallToolResult{InputRequests: questionTo(question), RequestState: next}, nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "remove"},
		func(context.Context, *mcp.CallToolRequest, deployIn) (*mcp.CallToolResult, any, error) {
			return text("removed"), nil, nil
		})
	server.AddPrompt(&mcp.Prompt{Name: "review", Arguments: []*mcp.PromptArgument{{Name: "service"}}},
		func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			next, question, err := wizard(req.Params.RequestState, req.Params.InputResponses)
			if err != nil {
				return nil, err
			}
			if question != "" {
				return &mcp.GetPromptResult{InputRequests: questionTo(question), RequestState: next}, nil
			}
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{
				Role: "user", Content: &mcp.TextContent{Text: req.Params.Arguments["service"] + " with " + next},
			}}}, nil
		})
	server.AddResource(&mcp.Resource{Name: "plan", URI: planURI},
		func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			next, question, err := wizard(req.Params.RequestState, req.Params.InputResponses)
			if err != nil {
				return nil, err
			}
			if question != "" {
				return &mcp.ReadResourceResult{
					Contents:      []*mcp.ResourceContents{}, // not nil, see RequestState
					InputRequests: questionTo(question), RequestState: next,
				}, nil
			}
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{Text: "plan with " + next}}}, nil
		})
	if guard != nil {
		server.AddReceivingMiddleware(RequestState(guard, opts...))
	}
	return server
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

// verify takes "issuer/user" for a token that an issuer has made for a user.
func verify(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	issuer, user, ok := strings.Cut(token, "/")
	if !ok {
		return nil, auth.ErrInvalidToken
	}
	return &auth.TokenInfo{
		UserID: user, Expiration: time.Now().Add(time.Hour), Extra: map[string]any{"iss": issuer},
	}, nil
}

const (
	alice   = "issuer/alice"
	mallory = "issuer/mallory"
)

// handler serves a server over HTTP to those who have a token.
func handler(t *testing.T, server *mcp.Server, stateless bool) http.Handler {
	t.Cleanup(func() { // sessions that a client has not ended
		for ss := range server.Sessions() {
			_ = ss.Close()
		}
	})
	return auth.RequireBearerToken(verify, nil)(mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: stateless, Logger: slog.New(slog.DiscardHandler)}))
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections) // streams that a client has left open
	return s.URL
}

// ring returns the same key for the same seed.
func ring(t *testing.T, seed string) *session.KeyRing {
	t.Helper()
	secret := (seed + strings.Repeat("0123456789", 4))[:32]
	ring, err := session.NewKeyRing(session.Key{ID: "k", Secret: []byte(secret)})
	require.NoError(t, err)
	return ring
}

// guards makes each kind of guard on a storage.
var guards = map[string]func(t *testing.T, st session.Storage, opts ...requeststate.Option) requeststate.Guard{
	"stored": func(_ *testing.T, st session.Storage, opts ...requeststate.Option) requeststate.Guard {
		return requeststate.NewStored(st, opts...)
	},
	"sealed": func(t *testing.T, _ session.Storage, opts ...requeststate.Option) requeststate.Guard {
		return requeststate.NewSealed(ring(t, "ours"), opts...)
	},
	"once": func(t *testing.T, st session.Storage, opts ...requeststate.Option) requeststate.Guard {
		return requeststate.NewSealed(ring(t, "ours"), append(opts, requeststate.Once(st))...)
	},
}
