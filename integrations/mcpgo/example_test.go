package mcpgo_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/mcpgo"
	"github.com/seed34611480/session/mcphttp"
)

// A session that begins on one replica, and goes on, on another.
func Example() {
	sessions := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share
	replica := func() http.Handler {
		s := server.NewMCPServer("greeter", "1.0.0")
		s.AddTool(mcp.NewTool("greet"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("hello"), nil
		})
		streamable := server.NewStreamableHTTPServer(s,
			server.WithSessionIdManagerResolver(mcpgo.Resolver()))
		return mcpgo.Handler(sessions, streamable, mcphttp.WithOwner(owner))
	}
	replicas := []http.Handler{replica(), replica()}
	requests := 0
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		replicas[requests%2].ServeHTTP(w, r)
	}))
	defer balancer.Close()

	ctx := context.Background()
	c, err := client.NewStreamableHttpClient(balancer.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	legacy := mcp.InitializeRequest{Params: mcp.InitializeParams{ProtocolVersion: "2025-11-25"}}
	if _, err := c.Initialize(ctx, legacy); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		result, err := c.CallTool(ctx, mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "greet"}})
		fmt.Println(mcp.GetTextFromContent(result.Content[0]), err)
	}
	// Output:
	// hello <nil>
	// hello <nil>
}

// owner is the user of a request, whose token middleware in front has verified.
func owner(*http.Request) (string, error) {
	return session.Principal("https://issuer.example", "alice"), nil
}
