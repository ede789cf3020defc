package gosdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

const legacyVersion = "2025-11-25"

// anonymous is a guard for clients on a pipe, which have no token.
func anonymous() requeststate.Guard {
	return requeststate.NewStored(session.NewMemoryStorage(time.Hour), requeststate.Anonymous())
}

// connect connects a client of the SDK on a pipe. The client does no rounds by itself: otherwise it would hide it when
// a question arrives as the final result.
func connect(t *testing.T, server *mcp.Server, version string, opts mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	opts.MultiRoundTrip = &mcp.MultiRoundTripOptions{Disabled: true}
	ours, theirs := mcp.NewInMemoryTransports()
	ss, err := server.Connect(t.Context(), ours, nil)
	require.NoError(t, err)
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, &opts)
	cs, err := client.Connect(t.Context(), theirs, &mcp.ClientSessionOptions{ProtocolVersion: version})
	require.NoError(t, err)
	require.Equal(t, version, cs.InitializeResult().ProtocolVersion)
	t.Cleanup(func() { _, _ = cs.Close(), ss.Wait() })
	return cs
}

// newTool returns a server with one tool.
func newTool(tool mcp.ToolHandler, opts ...Option) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, nil)
	server.AddTool(&mcp.Tool{Name: "tool", InputSchema: map[string]any{"type": "object"}}, tool)
	server.AddReceivingMiddleware(RequestState(anonymous(), opts...))
	return server
}

func callTool(t *testing.T, cs *mcp.ClientSession, state string) (*mcp.CallToolResult, error) {
	t.Helper()
	return cs.CallTool(t.Context(), &mcp.CallToolParams{Name: "tool", RequestState: state})
}

func requireWireError(t *testing.T, err error, want *jsonrpc.Error) {
	t.Helper()
	var got *jsonrpc.Error
	require.ErrorAs(t, err, &got)
	require.Equal(t, want.Code, got.Code, got.Message)
	require.Equal(t, want.Message, got.Message)
}

func TestLegacyRounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		option    Option
		questions int
		done      bool
	}{
		{WithLegacyRounds(0), 9, true}, // as many as the SDK's modern client answers
		{WithLegacyRounds(0), 10, false},
		{WithLegacyRounds(10), 9, true},
		{WithLegacyRounds(4), 3, true},
		{WithLegacyRounds(4), 4, false},
		{WithLegacyRounds(3), 3, true},
		{WithLegacyRounds(1), 0, true},
		{WithLegacyRounds(1), 1, true},
		{WithLegacyRounds(1), 2, false},
		{WithLegacyRounds(100), 50, true},
	} {
		asked := 0
		server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			step := len(req.Params.RequestState)
			require.Len(t, req.Params.InputResponses, min(step, 1))
			if step == tt.questions {
				return text("done"), nil
			}
			return &mcp.CallToolResult{
				InputRequests: questionTo("?"), RequestState: req.Params.RequestState + "x",
			}, nil
		}, tt.option)
		cs := connect(t, server, legacyVersion, mcp.ClientOptions{
			ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				asked++
				return &mcp.ElicitResult{Action: "decline"}, nil
			},
		})
		res, err := callTool(t, cs, "")
		if !tt.done {
			requireWireError(t, err, errRounds)
			require.Less(t, asked, tt.questions+1)
			continue
		}
		require.NoError(t, err)
		require.Empty(t, res.RequestState)
		require.Equal(t, "done", res.Content[0].(*mcp.TextContent).Text)
		require.Equal(t, tt.questions, asked)
	}
}

// TestLegacyAnswersAreAlike compares the answers to the first question, which the SDK asks, with those to the second.
func TestLegacyAnswersAreAlike(t *testing.T) {
	t.Parallel()
	var kinds []string
	server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if req.Params.RequestState != "" {
			p := req.Params.InputResponses
			kinds = append(kinds, fmt.Sprintf("%T %T %T %T", p["a"], p["b"], p["c"], p["d"]))
		}
		if len(req.Params.RequestState) == 2 {
			return text("done"), nil
		}
		//nolint:staticcheck // deprecated kinds of questions are asked, too
		return &mcp.CallToolResult{RequestState: req.Params.RequestState + "x", InputRequests: mcp.InputRequestMap{
			"a": &mcp.ElicitParams{Message: "?"},
			"b": &mcp.ListRootsParams{},
			"c": &mcp.CreateMessageParams{MaxTokens: 7, SystemPrompt: "s", Messages: []*mcp.SamplingMessage{
				{Role: "user", Content: &mcp.TextContent{Text: "hello"}},
			}},
			"d": &mcp.CreateMessageWithToolsParams{MaxTokens: 7, SystemPrompt: "s", Messages: []*mcp.SamplingMessageV2{
				{Role: "user", Content: []mcp.Content{&mcp.TextContent{Text: "hello"}}},
			}},
		}}, nil
	})
	//nolint:staticcheck // deprecated kinds of questions are answered, too
	cs := connect(t, server, legacyVersion, mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
		CreateMessageWithToolsHandler: func(
			_ context.Context, req *mcp.CreateMessageWithToolsRequest,
		) (*mcp.CreateMessageWithToolsResult, error) {
			p := req.Params
			sent := fmt.Sprintf("%d %s %s", p.MaxTokens, p.SystemPrompt, p.Messages[0].Content[0].(*mcp.TextContent).Text)
			if sent != "7 s hello" {
				return nil, errors.New("sent: " + sent)
			}
			return &mcp.CreateMessageWithToolsResult{
				Model: "m", Role: "assistant", Content: []mcp.Content{&mcp.TextContent{Text: "hi"}},
			}, nil
		},
	})
	_, err := callTool(t, cs, "")
	require.NoError(t, err)
	require.Len(t, kinds, 2)
	require.Equal(t, kinds[0], kinds[1])
	require.Equal(t, "*mcp.ElicitResult *mcp.ListRootsResult "+
		"*mcp.CreateMessageWithToolsResult *mcp.CreateMessageWithToolsResult", kinds[1])
}

func TestLegacyClientFails(t *testing.T) {
	t.Parallel()
	for failing := 1; failing <= 3; failing++ {
		asked := 0
		server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{
				InputRequests: questionTo("?"), RequestState: req.Params.RequestState + "secret",
			}, nil
		})
		cs := connect(t, server, legacyVersion, mcp.ClientOptions{
			ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				if asked++; asked == failing {
					return nil, errors.New("the window was closed")
				}
				return &mcp.ElicitResult{Action: "accept"}, nil
			},
		})
		_, err := callTool(t, cs, "")
		require.ErrorContains(t, err, "the window was closed")
		require.NotContains(t, err.Error(), "secret")
		require.Equal(t, failing, asked)
	}
}

// TestLoadShedding: a result with no questions, but not nil, asks a client to come back later.
func TestLoadShedding(t *testing.T) {
	t.Parallel()
	for busyAfter := range 3 {
		calls := 0
		server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			calls++
			requests := mcp.InputRequestMap{}
			if len(req.Params.RequestState) < busyAfter {
				requests = questionTo("?")
			}
			return &mcp.CallToolResult{InputRequests: requests, RequestState: req.Params.RequestState + "x"}, nil
		})
		answer := mcp.ClientOptions{
			ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
				return &mcp.ElicitResult{Action: "accept"}, nil
			},
		}
		_, err := callTool(t, connect(t, server, legacyVersion, answer), "")
		require.ErrorContains(t, err, "busy", "after %d questions", busyAfter)
		require.Equal(t, busyAfter+1, calls, "it is left alone")

		cs, state := connect(t, server, modern, answer), ""
		for range busyAfter + 1 {
			res, err := callTool(t, cs, state)
			require.NoError(t, err)
			require.True(t, res.NeedsInput())
			state = res.RequestState
		}
	}
}

// TestStatelessLegacy: there is no way to the client. Not even a client that could answer is asked.
func TestStatelessLegacy(t *testing.T) {
	t.Parallel()
	url := serve(t, handler(t, newServer(anonymous()), true))
	for _, name := range []string{"go-sdk legacy", "mcp-go legacy"} {
		c := clients[name](t, url, withToken(alice, http.DefaultTransport.RoundTrip), new(user))
		_, _, err := c.tool(t.Context(), "deploy", map[string]any{"service": "shop"})
		require.ErrorContains(t, err, errCannotAsk.Message, name)
		answer, _, err := c.tool(t.Context(), "remove", map[string]any{"service": "shop"})
		require.NoError(t, err, "what does not ask still works")
		require.Equal(t, "removed", answer)
	}
	r := raw{t: t, url: url, token: alice}.initialize().call("tools/call", targets()[0].params)
	require.EqualValues(t, errCannotAsk.Code, r.Error.Code, r.body)
}
