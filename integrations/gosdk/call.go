package gosdk

import (
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// call is a request that may carry a requestState.
type call struct {
	method    string
	request   mcp.Request
	name      string // of the tool or the prompt, or the URI of the resource
	state     string // as the client has sent it
	responses mcp.InputResponseMap
}

// callOf returns false for all other requests.
func callOf(method string, req mcp.Request) (call, bool) {
	switch r := req.(type) {
	case *mcp.CallToolRequest:
		return call{method, r, r.Params.Name, r.Params.RequestState, r.Params.InputResponses}, true
	case *mcp.GetPromptRequest:
		return call{method, r, r.Params.Name, r.Params.RequestState, r.Params.InputResponses}, true
	case *mcp.ReadResourceRequest:
		return call{method, r, r.Params.URI, r.Params.RequestState, r.Params.InputResponses}, true
	}
	return call{}, false
}

// arguments returns the arguments of the request as the client has sent them: without the defaults of a tool's schema.
func (c call) arguments() json.RawMessage {
	switch r := c.request.(type) {
	case *mcp.CallToolRequest:
		return r.Params.Arguments
	case *mcp.GetPromptRequest:
		arguments, _ := json.Marshal(r.Params.Arguments) //nolint:errchkjson // strings have JSON
		return arguments
	}
	return nil
}

// with returns the same request with another state and other responses. The params are copied, because middleware that
// is outside of this one may look at them afterwards.
func (c call) with(state string, responses mcp.InputResponseMap) mcp.Request {
	switch r := c.request.(type) {
	case *mcp.CallToolRequest:
		params := *r.Params
		params.RequestState, params.InputResponses = state, responses
		return &mcp.CallToolRequest{Session: r.Session, Params: &params, Extra: r.Extra}
	case *mcp.GetPromptRequest:
		params := *r.Params
		params.RequestState, params.InputResponses = state, responses
		return &mcp.GetPromptRequest{Session: r.Session, Params: &params, Extra: r.Extra}
	case *mcp.ReadResourceRequest:
		params := *r.Params
		params.RequestState, params.InputResponses = state, responses
		return &mcp.ReadResourceRequest{Session: r.Session, Params: &params, Extra: r.Extra}
	}
	return c.request
}

// answer is a result that may carry a requestState, and questions to the client.
type answer struct {
	result   mcp.Result
	requests mcp.InputRequestMap
	state    string // as the handler has set it
}

// answerOf returns false for all other results.
func answerOf(res mcp.Result) (answer, bool) {
	switch r := res.(type) {
	case *mcp.CallToolResult:
		if r != nil {
			return answer{r, r.InputRequests, r.RequestState}, true
		}
	case *mcp.GetPromptResult:
		if r != nil {
			return answer{r, r.InputRequests, r.RequestState}, true
		}
	case *mcp.ReadResourceResult:
		if r != nil {
			return answer{r, r.InputRequests, r.RequestState}, true
		}
	}
	return answer{}, false
}

// with returns the same result with another state. It is a copy, because a handler may return one result several times.
// It must not be cached for others: their requestState would be rejected.
func (a answer) with(state string) mcp.Result {
	switch r := a.result.(type) {
	case *mcp.CallToolResult:
		result := *r
		result.RequestState = state
		return &result
	case *mcp.GetPromptResult:
		result := *r
		result.RequestState = state
		return &result
	case *mcp.ReadResourceResult:
		result := *r
		result.RequestState, result.Cacheable = state, mcp.Cacheable{CacheScope: "private"}
		return &result
	}
	return a.result
}
