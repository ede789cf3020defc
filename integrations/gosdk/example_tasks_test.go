package gosdk_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/gosdk"
)

// A tool that takes minutes runs as a task for clients that know tasks. Its handler is an ordinary one. The program
// examples/longtask shows what happens when the replica that runs it is killed.
func ExampleInstallTasks() {
	sessions := session.NewMemoryStorage(time.Hour) // a RedisStorage, when there are several replicas
	server := mcp.NewServer(&mcp.Implementation{Name: "studio", Version: "1"}, nil)
	tasks := gosdk.InstallTasks(server, sessions,
		gosdk.WithTool("render", gosdk.TakeOver), // to render a page twice does no harm
		gosdk.WithTaskTTL(24*time.Hour),
		gosdk.WithPollInterval(5*time.Second))

	type input struct {
		Pages int `json:"pages"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "render"},
		func(ctx context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
			for range in.Pages {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done(): // cancelled, or the server shuts down
					return nil, nil, context.Cause(ctx)
				}
			}
			return nil, map[string]any{"rendered": in.Pages}, nil
		})
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true})
	web := httptest.NewServer(handler)
	defer web.Close()

	// When the server shuts down, tasks have 20 seconds to come to an end. Then another replica continues them.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fmt.Println(tasks.Close(ctx))
	// Output: <nil>
}
