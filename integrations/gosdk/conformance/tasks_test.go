package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session/integrations/gosdk"
)

// taskTools says which tools become tasks.
func taskTools() []gosdk.TaskOption {
	return []gosdk.TaskOption{
		gosdk.AnonymousTasks(),
		gosdk.WithPollInterval(100 * time.Millisecond),
		gosdk.WithTool("slow_compute"),
		gosdk.WithTool("failing_job", gosdk.Required),
		gosdk.WithTool("protocol_error_job"),
		gosdk.WithTool("confirm_delete"),
		gosdk.WithTool("multi_input"),
		gosdk.WithTool("test_tool_with_task", gosdk.Required, gosdk.AskFirst),
	}
}

// addTasks adds the tools of the scenarios about tasks. Their handlers do not know of tasks.
func addTasks(server *mcp.Server) {
	for name, handle := range map[string]handler{
		"greet": greet,
		"slow_compute": func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			seconds, err := time.ParseDuration(argument(req, "seconds") + "s")
			if err != nil {
				return nil, err
			}
			select {
			case <-time.After(seconds):
				return text("computed")
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		"failing_job": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, errors.New("always")
		},
		"protocol_error_job": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "always"}
		},
		"confirm_delete": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if accepted(req.Params.InputResponses, "confirm") != nil {
				return text("deleted")
			}
			return ask("", mcp.InputRequestMap{"confirm": form("confirm", "boolean")})
		},
		"multi_input": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if len(req.Params.InputResponses) == 2 {
				return text("both are there")
			}
			return ask("", mcp.InputRequestMap{"first": form("name", "string"), "second": form("name", "string")})
		},
		"test_tool_with_task": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if name := answer(req, "user_name", "name"); name != "" {
				return text("Hello, %s!", name)
			}
			return ask("", mcp.InputRequestMap{"user_name": form("name", "string")})
		},
	} {
		addTool(server, schemaless(name), handle)
	}
}

func greet(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return text("Hello, %s!", argument(req, "name"))
}

// argument returns an argument of a call as text.
func argument(req *mcp.CallToolRequest, name string) string {
	var all map[string]any
	_ = json.Unmarshal(req.Params.Arguments, &all)
	return fmt.Sprint(all[name])
}
