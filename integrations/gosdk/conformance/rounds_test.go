//nolint:staticcheck // the suite calls what the specification has deprecated
package conformance

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// addRounds adds tools that need answers before they can end: the state of their rounds goes through the client, which
// the middleware guards. None of them looks whether a state is one of its own.
func addRounds(server *mcp.Server) {
	for name, handle := range map[string]handler{
		"elicitation": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if name := answer(req, "user_name", "name"); name != "" {
				return text("Hello, %s!", name)
			}
			return ask("", mcp.InputRequestMap{"user_name": form("name", "string")})
		},
		"sampling": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if sampled := sample(req, "capital_question"); sampled != "" {
				return text("The model says: %s", sampled)
			}
			return ask("", mcp.InputRequestMap{"capital_question": prompted("What is the capital of France?")})
		},
		"list_roots": func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if roots, ok := req.Params.InputResponses["client_roots"].(*mcp.ListRootsResult); ok {
				return text("%d roots", len(roots.Roots))
			}
			return ask("", mcp.InputRequestMap{"client_roots": new(mcp.ListRootsParams)})
		},
		"request_state":   confirm,
		"tampered_state":  confirm,
		"multiple_inputs": everything,
		"multi_round":     twoRounds,
		"capabilities":    whatTheClientCan,
	} {
		addTool(server, schemaless("test_input_required_result_"+name), handle)
	}
	server.AddPrompt(&mcp.Prompt{Name: "test_input_required_result_prompt", Description: "for the suite"},
		func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			if accepted := accepted(req.Params.InputResponses, "user_context"); accepted != nil {
				return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{says("%v", accepted["context"])}}, nil
			}
			return &mcp.GetPromptResult{InputRequests: mcp.InputRequestMap{"user_context": form("context", "string")}}, nil
		})
}

func ask(state string, questions mcp.InputRequestMap) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{InputRequests: questions, RequestState: state}, nil
}

// form asks the user for one field.
func form(field, kind string) *mcp.ElicitParams {
	return &mcp.ElicitParams{
		Message: "What is the " + field + "?",
		RequestedSchema: json.RawMessage(fmt.Sprintf(
			`{"type": "object", "properties": {%q: {"type": %q}}, "required": [%[1]q]}`, field, kind)),
	}
}

// prompted asks the model of the client.
func prompted(question string) *mcp.CreateMessageParams {
	return &mcp.CreateMessageParams{
		Messages:  []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: question}}},
		MaxTokens: 100,
	}
}

// accepted returns what the user has filled in, nil if nothing.
func accepted(responses mcp.InputResponseMap, key string) map[string]any {
	if r, ok := responses[key].(*mcp.ElicitResult); ok && r != nil && r.Action == "accept" {
		return r.Content
	}
	return nil
}

func answer(req *mcp.CallToolRequest, key, field string) string {
	value, _ := accepted(req.Params.InputResponses, key)[field].(string)
	return value
}

func sample(req *mcp.CallToolRequest, key string) string {
	r, ok := req.Params.InputResponses[key].(*mcp.CreateMessageWithToolsResult)
	if !ok || r == nil {
		return ""
	}
	for _, c := range r.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			return t.Text
		}
	}
	return ""
}

func confirm(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if req.Params.RequestState == "to be confirmed" && accepted(req.Params.InputResponses, "confirm") != nil {
		return text("state-ok")
	}
	return ask("to be confirmed", mcp.InputRequestMap{"confirm": form("ok", "boolean")})
}

func everything(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	name, greeting := answer(req, "user_name", "name"), sample(req, "greeting")
	if _, ok := req.Params.InputResponses["client_roots"].(*mcp.ListRootsResult); ok && name != "" && greeting != "" {
		return text("%s %s", greeting, name)
	}
	return ask("everything", mcp.InputRequestMap{
		"user_name": form("name", "string"), "greeting": prompted("Greet!"), "client_roots": new(mcp.ListRootsParams),
	})
}

func twoRounds(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	state := req.Params.RequestState
	if state == "" {
		return ask("round 1", mcp.InputRequestMap{"step1": form("name", "string")})
	}
	if state == "round 1" {
		return ask(answer(req, "step1", "name"), mcp.InputRequestMap{"step2": form("color", "string")})
	}
	return text("%s likes %s", state, answer(req, "step2", "color"))
}

// whatTheClientCan asks only for what the client has declared.
func whatTheClientCan(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if len(req.Params.InputResponses) > 0 {
		return text("done")
	}
	questions := make(mcp.InputRequestMap)
	if c := req.ClientCapabilities(); c != nil {
		if c.Elicitation != nil {
			questions["user_name"] = form("name", "string")
		}
		if c.Sampling != nil {
			questions["greeting"] = prompted("Greet!")
		}
		if c.RootsV2 != nil {
			questions["client_roots"] = new(mcp.ListRootsParams)
		}
	}
	if len(questions) == 0 {
		return text("nothing can be asked")
	}
	return ask("", questions)
}

// addQuestions adds the tools that ask clients of the legacy era while the call waits.
func addQuestions(server *mcp.Server) {
	addTool(server, schemaless("test_sampling"),
		func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			r, err := req.Session.CreateMessage(ctx, prompted(argument(req, "prompt")))
			if err != nil {
				return nil, err
			}
			return &mcp.CallToolResult{Content: []mcp.Content{r.Content}}, nil
		})
	for name, fields := range map[string]string{
		"test_elicitation": `"username": {"type": "string"}`,
		"test_elicitation_sep1034_defaults": `
			"name": {"type": "string", "default": "John Doe"},
			"age": {"type": "integer", "default": 30},
			"score": {"type": "number", "default": 95.5},
			"status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
			"verified": {"type": "boolean", "default": true}`,
		"test_elicitation_sep1330_enums": `
			"untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
			"titledSingle": {"type": "string", "oneOf": [
				{"const": "value1", "title": "First Option"},
				{"const": "value2", "title": "Second Option"},
				{"const": "value3", "title": "Third Option"}]},
			"legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
				"enumNames": ["Option One", "Option Two", "Option Three"]},
			"untitledMulti": {"type": "array", "minItems": 1, "maxItems": 3,
				"items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
			"titledMulti": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "anyOf": [
				{"const": "value1", "title": "First Choice"},
				{"const": "value2", "title": "Second Choice"},
				{"const": "value3", "title": "Third Choice"}]}}`,
	} {
		addTool(server, schemaless(name), func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			schema := json.RawMessage(`{"type": "object", "properties": {` + fields + `}}`)
			r, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "Please fill in", RequestedSchema: schema})
			if err != nil {
				return nil, err
			}
			return text("action=%s, content=%v", r.Action, r.Content)
		})
	}
}
