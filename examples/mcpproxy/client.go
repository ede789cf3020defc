package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	legacyVersion = "2025-11-25" // the last protocol with sessions
	modernVersion = "2026-07-28" // the first without
)

// client is a user's MCP client: the SDK's own. It knows one address, the balancer's.
type client struct {
	name      string // the session id is a credential, and is never shown
	user      string
	session   *mcp.ClientSession
	transport *http.Transport
	count     int          // the tool's latest answer
	heard     atomic.Int64 // the latest announcement from the event stream
}

// connect opens a session: with a version before 2026-07-28, which has none.
func connect(
	ctx context.Context, name, user string, balancer *url.URL, change ...func(*mcp.StreamableClientTransport),
) (*client, error) {
	c := &client{name: name, user: user, transport: newTransport()}
	hear := func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
		c.heard.Store(int64(r.Params.Progress))
	}
	sdk := mcp.NewClient(
		&mcp.Implementation{Name: "demo", Version: "1"},
		&mcp.ClientOptions{ProgressNotificationHandler: hear},
	)
	transport := &mcp.StreamableClientTransport{
		Endpoint:   balancer.JoinPath("mcp").String(),
		HTTPClient: as(user, c.transport),
	}
	for _, f := range change {
		f(transport)
	}
	var err error
	options := &mcp.ClientSessionOptions{ProtocolVersion: legacyVersion}
	if c.session, err = sdk.Connect(ctx, transport, options); err != nil {
		return nil, &clientError{c.name, err}
	}
	return c, nil
}

// withoutStream is for a client that does not listen.
func withoutStream(t *mcp.StreamableClientTransport) { t.DisableStandaloneSSE = true }

func (c *client) probed() probed { return probed{c.session.ID(), c.user} }

// call uses the tool once, and checks that the answer is one more than the last. Any other answer means that the
// backend does not know this session, or that a call was made twice.
func (c *client) call(ctx context.Context) error {
	result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: "count"})
	if err != nil {
		return &clientError{c.name, err}
	}
	var got answer
	if err := read(result, &got); err != nil {
		return &clientError{c.name, err}
	}
	c.count++
	if got.Count != c.count {
		return fmt.Errorf("%s: the tool has counted %d calls, the client made %d", c.name, got.Count, c.count)
	}
	return nil
}

// read decodes what a tool has returned.
func read(result *mcp.CallToolResult, into any) error {
	for _, content := range result.Content {
		if text, ok := content.(*mcp.TextContent); ok && !result.IsError {
			return json.Unmarshal([]byte(text.Text), into)
		} else if ok {
			return errors.New(text.Text)
		}
	}
	return errors.New("the tool did not answer")
}

// close ends the session: the SDK sends a DELETE.
func (c *client) close() error {
	defer c.transport.CloseIdleConnections()
	if err := c.session.Close(); err != nil {
		return &clientError{c.name, err}
	}
	return nil
}

// clientError keeps the session id out of the report: the SDK puts the id into some of its errors.
type clientError struct {
	name string
	err  error
}

var quotedID = regexp.MustCompile(` \(session ID: [^)]*\)`)

func (e *clientError) Error() string {
	return e.name + ": " + quotedID.ReplaceAllString(e.err.Error(), "")
}

func (e *clientError) Unwrap() error { return e.err }
