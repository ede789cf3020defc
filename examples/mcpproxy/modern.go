package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// modernClient is a client of 2026-07-28: the SDK's own. It has no session, so nothing ties it to a backend.
type modernClient struct {
	session   *mcp.ClientSession
	transport *http.Transport
}

func connectModern(ctx context.Context, user string, to *url.URL) (*modernClient, error) {
	c := &modernClient{transport: newTransport()}
	sdk := mcp.NewClient(&mcp.Implementation{Name: "demo", Version: "1"}, nil)
	transport := &mcp.StreamableClientTransport{
		Endpoint:   to.JoinPath("mcp").String(),
		HTTPClient: as(user, c.transport),
	}
	var err error
	c.session, err = sdk.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: modernVersion})
	return c, err
}

// call uses a tool once.
func (c *modernClient) call(ctx context.Context, tool string, arguments, into any) error {
	result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return err
	}
	return read(result, into)
}

func (c *modernClient) close() {
	_ = c.session.Close()
	c.transport.CloseIdleConnections()
}

// taskClient is a client that knows tasks. The SDK's does not know them yet.
type taskClient struct {
	user      string
	transport http.RoundTripper
}

// task is what a server says of one. Its id is a secret of the user's.
//
//nolint:tagliatelle // the names are those of the protocol
type task struct {
	ID     string `json:"taskId"`
	Status string `json:"status"`
	Result struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"result"`
}

// begin calls a tool that runs as a task.
func (c taskClient) begin(ctx context.Context, at *url.URL, tool string, arguments any) (task, error) {
	return c.send(ctx, at, "tools/call", tool, map[string]any{"name": tool, "arguments": arguments})
}

// get asks for a task.
func (c taskClient) get(ctx context.Context, at *url.URL, id string) (task, error) {
	return c.send(ctx, at, "tasks/get", "", map[string]any{"taskId": id})
}

func (c taskClient) send(ctx context.Context, at *url.URL, method, name string, params map[string]any) (task, error) {
	params["_meta"] = map[string]any{
		"io.modelcontextprotocol/protocolVersion": modernVersion,
		"io.modelcontextprotocol/clientInfo":      map[string]any{"name": "demo", "version": "1"},
		"io.modelcontextprotocol/clientCapabilities": map[string]any{
			"extensions": map[string]any{"io.modelcontextprotocol/tasks": map[string]any{}},
		},
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return task{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.JoinPath("mcp").String(), bytes.NewReader(body))
	if err != nil {
		return task{}, err
	}
	r.Header = http.Header{
		"Content-Type":         {"application/json"},
		"Accept":               {"application/json, text/event-stream"},
		"Authorization":        {bearer(c.user)},
		"Mcp-Protocol-Version": {modernVersion},
		"Mcp-Method":           {method},
	}
	if name != "" {
		r.Header.Set("Mcp-Name", name)
	}
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		return task{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return task{}, err
	}
	if _, data, streamed := bytes.Cut(text, []byte("data: ")); streamed {
		text, _, _ = bytes.Cut(data, []byte("\n"))
	}
	var message struct {
		Result task `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(text, &message); {
	case err != nil:
		return task{}, fmt.Errorf("%s: status %d", method, response.StatusCode)
	case message.Error != nil:
		return task{}, fmt.Errorf("%s: %d %s", method, message.Error.Code, message.Error.Message)
	}
	return message.Result, nil
}
