package gosdk

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	gomcp "github.com/mark3labs/mcp-go/mcp"

	goclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// client is a real client, of one of two SDKs, in one of two eras.
type client interface {
	tool(ctx context.Context, name string, arguments map[string]any) (text string, isError bool, err error)
	prompt(ctx context.Context, name string, arguments map[string]string) (string, error)
	resource(ctx context.Context, uri string) (string, error)
}

// user answers the questions of servers, with one letter each. asked is called before each answer, and may be nil.
type user struct {
	asked func(n int)

	mu sync.Mutex // protects n
	n  int
}

func (u *user) answer() string {
	u.mu.Lock()
	n := u.n
	u.n++
	u.mu.Unlock()
	if u.asked != nil {
		u.asked(n)
	}
	return string(rune('a' + n%questions))
}

// questions returns how often the user was asked.
func (u *user) questions() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n
}

// clients connects each kind of client.
var clients = map[string]func(t *testing.T, url string, web *http.Client, u *user) client{
	"go-sdk modern": func(t *testing.T, url string, web *http.Client, u *user) client {
		return connectGoSDK(t, url, web, u, modern)
	},
	"go-sdk legacy": func(t *testing.T, url string, web *http.Client, u *user) client {
		return connectGoSDK(t, url, web, u, "2025-11-25")
	},
	"mcp-go modern": func(t *testing.T, url string, web *http.Client, u *user) client {
		return connectMCPGo(t, url, web, u, modern)
	},
	"mcp-go legacy": func(t *testing.T, url string, web *http.Client, u *user) client {
		return connectMCPGo(t, url, web, u, "2025-11-25")
	},
}

type goSDK struct{ *mcp.ClientSession }

func connectGoSDK(t *testing.T, url string, web *http.Client, u *user, version string) client {
	t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"text": u.answer()}}, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cs, err := c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: web},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	require.NoError(t, err)
	require.Equal(t, version, cs.InitializeResult().ProtocolVersion)
	t.Cleanup(func() { _ = cs.Close() })
	return goSDK{cs}
}

func (c goSDK) tool(ctx context.Context, name string, arguments map[string]any) (string, bool, error) {
	res, err := c.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "", false, err
	}
	if len(res.Content) == 0 {
		return "", res.IsError, nil
	}
	return res.Content[0].(*mcp.TextContent).Text, res.IsError, nil
}

func (c goSDK) prompt(ctx context.Context, name string, arguments map[string]string) (string, error) {
	res, err := c.GetPrompt(ctx, &mcp.GetPromptParams{Name: name, Arguments: arguments})
	if err != nil || len(res.Messages) == 0 {
		return "", err
	}
	return res.Messages[0].Content.(*mcp.TextContent).Text, nil
}

func (c goSDK) resource(ctx context.Context, uri string) (string, error) {
	res, err := c.ReadResource(ctx, &mcp.ReadResourceParams{URI: uri})
	if err != nil || len(res.Contents) == 0 {
		return "", err
	}
	return res.Contents[0].Text, nil
}

type mcpGo struct{ *goclient.Client }

// Elicit implements the client's ElicitationHandler.
func (u *user) Elicit(context.Context, gomcp.ElicitationRequest) (*gomcp.ElicitationResult, error) {
	return &gomcp.ElicitationResult{ElicitationResponse: gomcp.ElicitationResponse{
		Action: gomcp.ElicitationResponseActionAccept, Content: map[string]any{"text": u.answer()},
	}}, nil
}

func connectMCPGo(t *testing.T, url string, web *http.Client, u *user, version string) client {
	t.Helper()
	tr, err := transport.NewStreamableHTTP(url, transport.WithHTTPBasicClient(web),
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	c := goclient.NewClient(tr, goclient.WithElicitationHandler(u), goclient.WithProtocolVersion(version))
	require.NoError(t, c.Start(t.Context()))
	t.Cleanup(func() { _ = c.Close() })
	var req gomcp.InitializeRequest
	req.Params.ClientInfo = gomcp.Implementation{Name: "client", Version: "1"}
	req.Params.ProtocolVersion = version
	res, err := c.Initialize(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, version, res.ProtocolVersion)
	return mcpGo{c}
}

func (c mcpGo) tool(ctx context.Context, name string, arguments map[string]any) (string, bool, error) {
	var req gomcp.CallToolRequest
	req.Params.Name, req.Params.Arguments = name, arguments
	res, err := c.CallTool(ctx, req)
	if err != nil {
		return "", false, err
	}
	if len(res.Content) == 0 {
		return "", res.IsError, nil
	}
	return res.Content[0].(gomcp.TextContent).Text, res.IsError, nil
}

func (c mcpGo) prompt(ctx context.Context, name string, arguments map[string]string) (string, error) {
	var req gomcp.GetPromptRequest
	req.Params.Name, req.Params.Arguments = name, arguments
	res, err := c.GetPrompt(ctx, req)
	if err != nil || len(res.Messages) == 0 {
		return "", err
	}
	return res.Messages[0].Content.(gomcp.TextContent).Text, nil
}

func (c mcpGo) resource(ctx context.Context, uri string) (string, error) {
	var req gomcp.ReadResourceRequest
	req.Params.URI = uri
	res, err := c.ReadResource(ctx, req)
	if err != nil || len(res.Contents) == 0 {
		return "", err
	}
	return res.Contents[0].(gomcp.TextResourceContents).Text, nil
}

// requireWizards has a client go through all three wizards to their ends.
func requireWizards(t *testing.T, c client, u *user) {
	t.Helper()
	answer, isError, err := c.tool(t.Context(), "deploy", map[string]any{"service": "shop", "instances": 3})
	require.NoError(t, err)
	require.False(t, isError, answer)
	require.Equal(t, "shop with a,b,c,", answer)
	answer, err = c.prompt(t.Context(), "review", map[string]string{"service": "shop"})
	require.NoError(t, err)
	require.Equal(t, "shop with a,b,c,", answer)
	answer, err = c.resource(t.Context(), planURI)
	require.NoError(t, err)
	require.Equal(t, "plan with a,b,c,", answer)
	require.Equal(t, 3*questions, u.questions())
}

func TestRealClients(t *testing.T) {
	redis := redistest.Start(t)
	for guardName, newGuard := range guards {
		f := startFleet(t, redis.Addr(), func(r *replica) *mcp.Server { return newServer(newGuard(t, r.remote)) })
		for clientName, connect := range clients {
			t.Run(fmt.Sprintf("%s/%s", guardName, clientName), func(t *testing.T) {
				u := new(user)
				requireWizards(t, connect(t, "http://127.0.0.1", f.as(alice), u), u)
			})
		}
		f.requireSpread(t)
	}
}
