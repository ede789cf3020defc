package conformance

import (
	"context"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// addResources adds the resources that the suite reads.
func addResources(server *mcp.Server) {
	for name, contents := range map[string]mcp.ResourceContents{
		"static-text":      {MIMEType: "text/plain", Text: "text"},
		"static-binary":    {MIMEType: "image/png", Blob: picture},
		"watched-resource": {MIMEType: "text/plain", Text: "watched"},
	} {
		contents.URI = "test://" + name
		server.AddResource(&mcp.Resource{Name: name, URI: contents.URI, MIMEType: contents.MIMEType},
			func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
				return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{&contents}}, nil
			})
	}
	template := &mcp.ResourceTemplate{
		Name: "template", URITemplate: "test://template/{id}/data", MIMEType: "application/json",
	}
	server.AddResourceTemplate(template,
		func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			id := strings.TrimSuffix(strings.TrimPrefix(req.Params.URI, "test://template/"), "/data")
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{
				{URI: req.Params.URI, MIMEType: "application/json", Text: fmt.Sprintf(`{"id": %q}`, id)},
			}}, nil
		})
}

// addPrompts adds the prompts that the suite gets.
func addPrompts(server *mcp.Server) {
	for name, prompt := range map[string]struct {
		arguments []string
		messages  func(arguments map[string]string) []*mcp.PromptMessage
	}{
		"test_simple_prompt": {nil, func(map[string]string) []*mcp.PromptMessage {
			return []*mcp.PromptMessage{says("a prompt")}
		}},
		"test_prompt_with_arguments": {[]string{"arg1", "arg2"}, func(a map[string]string) []*mcp.PromptMessage {
			return []*mcp.PromptMessage{says("arg1=%q, arg2=%q", a["arg1"], a["arg2"])}
		}},
		"test_prompt_with_embedded_resource": {[]string{"resourceUri"}, func(a map[string]string) []*mcp.PromptMessage {
			embedded := &mcp.EmbeddedResource{
				Resource: &mcp.ResourceContents{URI: a["resourceUri"], MIMEType: "text/plain", Text: "text"},
			}
			return []*mcp.PromptMessage{{Role: "user", Content: embedded}, says("What is in there?")}
		}},
		"test_prompt_with_image": {nil, func(map[string]string) []*mcp.PromptMessage {
			image := &mcp.ImageContent{Data: picture, MIMEType: "image/png"}
			return []*mcp.PromptMessage{{Role: "user", Content: image}, says("What is this?")}
		}},
	} {
		p := &mcp.Prompt{Name: name, Description: "for the suite"}
		for _, argument := range prompt.arguments {
			p.Arguments = append(p.Arguments, &mcp.PromptArgument{Name: argument, Required: true})
		}
		server.AddPrompt(p, func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: prompt.messages(req.Params.Arguments)}, nil
		})
	}
}

func says(format string, args ...any) *mcp.PromptMessage {
	return &mcp.PromptMessage{Role: "user", Content: &mcp.TextContent{Text: fmt.Sprintf(format, args...)}}
}

func complete(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
}

func subscribe(context.Context, *mcp.SubscribeRequest) error { return nil }

func unsubscribe(context.Context, *mcp.UnsubscribeRequest) error { return nil }
