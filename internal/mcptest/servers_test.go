package mcptest

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// backend is an MCP server of one of the SDKs. Its tools: "hello" answers, "wait" does so at its end, "ask"
// asks the client's user first.
type backend struct {
	modern http.Handler // the same handler, where an SDK serves both eras with one
	legacy http.Handler

	sessions func() int    // that the server has
	waiting  atomic.Int64  // calls of "wait"
	release  chan struct{} // closed to end them
}

// newState returns a backend without a server. Calls end with the test: go-sdk ends no session before its calls.
func newState(t *testing.T) *backend {
	t.Helper()
	b := &backend{release: make(chan struct{})}
	t.Cleanup(b.end)
	return b
}

// end ends all calls.
func (b *backend) end() {
	select {
	case <-b.release:
	default:
		close(b.release)
	}
}

// wait is the tool.
func (b *backend) wait(ctx context.Context) {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	select {
	case <-ctx.Done():
	case <-b.release:
	}
}

// newBackend is each SDK's.
var newBackend = map[string]func(t *testing.T) *backend{"go-sdk": newGoSDK, "mcp-go": newMCPGo}

func newGoSDK(t *testing.T) *backend {
	t.Helper()
	b := newState(t)
	server := mcp.NewServer(&mcp.Implementation{Name: "go-sdk", Version: "1"}, nil)
	text := func(s string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
	}
	mcp.AddTool(server, &mcp.Tool{Name: "hello"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			return text("hello"), nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "wait"},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			b.wait(ctx)
			return text("waited"), nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "ask"},
		func(ctx context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			got, err := r.Session.Elicit(ctx, &mcp.ElicitParams{
				Message: "may I?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}},
			})
			if err != nil {
				return nil, nil, err
			}
			return text(got.Action), nil, nil
		})
	get := func(*http.Request) *mcp.Server { return server }
	b.modern = mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true})
	b.legacy = mcp.NewStreamableHTTPHandler(get, nil)
	b.sessions = func() int { return len(slices.Collect(server.Sessions())) }
	t.Cleanup(func() {
		b.end()
		for s := range server.Sessions() {
			_ = s.Close()
		}
	})
	return b
}

func newMCPGo(t *testing.T) *backend {
	t.Helper()
	b := newState(t)
	var sessions atomic.Int64
	hooks := new(mcpgoserver.Hooks)
	hooks.AddOnRegisterSession(func(context.Context, mcpgoserver.ClientSession) { sessions.Add(1) })
	hooks.AddOnUnregisterSession(func(context.Context, mcpgoserver.ClientSession) { sessions.Add(-1) })
	server := mcpgoserver.NewMCPServer("mcp-go", "1", mcpgoserver.WithHooks(hooks), mcpgoserver.WithElicitation(),
		mcpgoserver.WithToolCapabilities(true))
	server.AddTool(mcpgo.NewTool("hello"),
		func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return mcpgo.NewToolResultText("hello"), nil
		})
	server.AddTool(mcpgo.NewTool("wait"),
		func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			b.wait(ctx)
			return mcpgo.NewToolResultText("waited"), nil
		})
	server.AddTool(mcpgo.NewTool("ask"),
		func(ctx context.Context, _ mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			got, err := server.RequestElicitation(ctx, mcpgo.ElicitationRequest{
				Params: mcpgo.ElicitationParams{Message: "may I?", RequestedSchema: map[string]any{"type": "object"}},
			})
			if err != nil {
				return nil, err
			}
			return mcpgo.NewToolResultText(string(got.Action)), nil
		})
	handler := mcpgoserver.NewStreamableHTTPServer(server, mcpgoserver.WithStateful(true))
	b.modern, b.legacy = handler, handler
	b.sessions = func() int { return int(sessions.Load()) }
	t.Cleanup(func() { _ = handler.Shutdown(context.Background()) })
	return b
}
