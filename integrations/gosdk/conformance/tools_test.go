//nolint:staticcheck // the suite calls what the specification has deprecated
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// What begins like a picture and like a sound.
var (
	picture = []byte("\x89PNG\r\n\x1a\n")
	sound   = []byte("RIFF\x04\x00\x00\x00WAVE")
)

// handler handles a tool. What it needs of its arguments it reads itself.
type handler func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error)

// addTools adds the tools that the suite calls by these names.
func addTools(server *mcp.Server) {
	for name, handle := range map[string]handler{
		"test_simple_text":   always(&mcp.TextContent{Text: "text"}),
		"test_image_content": always(&mcp.ImageContent{Data: picture, MIMEType: "image/png"}),
		"test_audio_content": always(&mcp.AudioContent{Data: sound, MIMEType: "audio/wav"}),
		"test_embedded_resource": always(&mcp.EmbeddedResource{
			Resource: &mcp.ResourceContents{URI: "test://embedded-resource", MIMEType: "text/plain", Text: "text"},
		}),
		"test_multiple_content_types": always(
			&mcp.TextContent{Text: "text"},
			&mcp.ImageContent{Data: picture, MIMEType: "image/png"},
			&mcp.EmbeddedResource{
				Resource: &mcp.ResourceContents{URI: "test://mixed-content-resource", MIMEType: "text/plain", Text: "text"},
			},
		),
		"test_streaming_elicitation": always(&mcp.TextContent{Text: "no questions"}),
		"test_error_handling": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return nil, errors.New("always")
		},
		"test_tool_with_logging":  logThrice,
		"test_logging_tool":       logThrice,
		"test_tool_with_progress": progress,
		"test_reconnection":       reconnection,
		"test_missing_capability": needsSampling,
		"test_trigger_tool_change": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			addTool(server, schemaless("greet"), greet) // again: the replicas go on having the same tools
			return text("changed")
		},
		"test_trigger_prompt_change": func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			addPrompts(server)
			return text("changed")
		},
	} {
		addTool(server, schemaless(name), handle)
	}
	addTool(server, toolOf("json_schema_2020_12_tool", schema2020), always(&mcp.TextContent{Text: "valid"}))
	addTool(server, toolOf("test_x_mcp_header", `{"type": "object", "properties": {
		"region": {"type": "string", "x-mcp-header": "Region"}, "level": {"type": "integer"}}}`),
		always(&mcp.TextContent{Text: "a region"}))
}

// schema2020 uses what is in JSON Schema since 2020-12.
const schema2020 = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"$defs": {
		"address": {
			"$anchor": "addressDef",
			"type": "object",
			"properties": {"street": {"type": "string"}, "city": {"type": "string"}}
		}
	},
	"properties": {
		"name": {"type": "string"},
		"address": {"$ref": "#/$defs/address"},
		"contactMethod": {"type": "string", "enum": ["phone", "email"]},
		"phone": {"type": "string"},
		"email": {"type": "string"}
	},
	"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
	"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
	"then": {"required": ["phone"]},
	"else": {"required": ["email"]},
	"additionalProperties": false
}`

func toolOf(name, schema string) *mcp.Tool {
	return &mcp.Tool{Name: name, Description: "for the suite", InputSchema: json.RawMessage(schema)}
}

func schemaless(name string) *mcp.Tool { return toolOf(name, `{"type": "object"}`) }

// addTool adds a tool. An error is one of the tool, which the model sees, unless it is one of the protocol.
func addTool(server *mcp.Server, tool *mcp.Tool, handle handler) {
	server.AddTool(tool, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		r, err := handle(ctx, req)
		if _, ok := errors.AsType[*jsonrpc.Error](err); err != nil && !ok {
			r, err = text("%v", err)
			r.IsError = true
		}
		return r, err
	})
}

func always(content ...mcp.Content) handler {
	return func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

func text(format string, args ...any) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}, nil
}

func logThrice(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for i := range 3 {
		if err := req.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: i}); err != nil {
			return nil, err
		}
	}
	return text("logged")
}

func progress(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	token := req.Params.GetProgressToken()
	for percent := range 3 {
		params := &mcp.ProgressNotificationParams{ProgressToken: token, Progress: float64(percent * 50), Total: 100}
		if err := req.Session.NotifyProgress(ctx, params); err != nil {
			return nil, err
		}
	}
	return text("%v", token)
}

// reconnection closes the stream of its call. The client gets the result when it connects again.
func reconnection(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if extra := req.GetExtra(); extra != nil && extra.CloseSSEStream != nil {
		extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
	}
	return text("connected again")
}

func needsSampling(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if c := req.ClientCapabilities(); c != nil && c.Sampling != nil {
		return text("sampling is there")
	}
	data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{
		RequiredCapabilities: &mcp.ClientCapabilities{Sampling: new(mcp.SamplingCapabilities)},
	})
	if err != nil {
		return nil, err
	}
	return nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "needs sampling", Data: data}
}
