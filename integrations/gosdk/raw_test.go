package gosdk

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// raw is a client that sends what it is told to.
type raw struct {
	t       *testing.T
	url     string
	web     *http.Client // nil: the default one
	token   string
	legacy  bool   // it has sent an initialize request
	session string // of a legacy client
}

// reply is what an answer has of interest.
//
//nolint:tagliatelle // the names are those of the protocol
type reply struct {
	Status int `json:"-"`
	Result struct {
		RequestState  string          `json:"requestState"`
		InputRequests json.RawMessage `json:"inputRequests"`
		ResultType    string          `json:"resultType"`
		IsError       bool            `json:"isError"`
		Content       []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"result"`
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	body string
}

// call sends one request of the era of 2026-07-28, or of the client's session.
func (c raw) call(method string, params map[string]any) reply {
	c.t.Helper()
	params = maps.Clone(params)
	header := http.Header{"Mcp-Method": {method}}
	if c.legacy {
		header.Set("Mcp-Protocol-Version", "2025-11-25")
		header.Set("Mcp-Session-Id", c.session)
	} else {
		header.Set("Mcp-Protocol-Version", modern)
		for _, key := range []string{"name", "uri"} {
			if name, ok := params[key].(string); ok {
				header.Set("Mcp-Name", name)
			}
		}
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    modern,
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "raw", "version": "1"},
			"io.modelcontextprotocol/clientCapabilities": map[string]any{"elicitation": map[string]any{}},
		}
	}
	r, _ := c.post(header, map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	return r
}

// initialize begins a session of a legacy client.
func (c raw) initialize() raw {
	c.t.Helper()
	r, header := c.post(http.Header{}, map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": map[string]any{
			"protocolVersion": "2025-11-25", "clientInfo": map[string]any{"name": "raw", "version": "1"},
			"capabilities": map[string]any{},
		},
	})
	require.Equal(c.t, http.StatusOK, r.Status, r.body)
	c.legacy, c.session = true, header.Get("Mcp-Session-Id")
	_, _ = c.post(http.Header{"Mcp-Session-Id": {c.session}, "Mcp-Protocol-Version": {"2025-11-25"}},
		map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	return c
}

func (c raw) post(header http.Header, message map[string]any) (reply, http.Header) {
	c.t.Helper()
	body, err := json.Marshal(message)
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url, bytes.NewReader(body))
	require.NoError(c.t, err)
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	resp, err := cmp.Or(c.web, http.DefaultClient).Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	r := reply{Status: resp.StatusCode, body: string(answer)}
	message0 := string(answer)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.Lines(message0) {
			if data, ok := strings.CutPrefix(line, "data: "); ok && strings.TrimSpace(data) != "" {
				message0 = data // the last one is the answer
			}
		}
	}
	_ = json.Unmarshal([]byte(message0), &r) // an answer of net/http is no JSON
	return r, resp.Header
}

// repeated returns the params of a call that is repeated with an answer.
func repeated(params map[string]any, requestState, answer string) map[string]any {
	params = maps.Clone(params)
	params["requestState"] = requestState
	params["inputResponses"] = map[string]any{
		"answer": map[string]any{"action": "accept", "content": map[string]any{"text": answer}},
	}
	return params
}

// rawJSON is sent as it is, but for spaces.
func rawJSON(text string) json.RawMessage { return json.RawMessage(text) }
