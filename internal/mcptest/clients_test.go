package mcptest

import (
	"context"
	"errors"
	"net/http"
	"testing"

	mcpgoclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// client is a client of one of the SDKs.
type client interface {
	call(ctx context.Context, tool string) (string, error)
	sessionID() string // "" in the modern era
	close() error      // sends a DELETE in the legacy era
}

var errTool = errors.New("the tool has failed")

// connect is each SDK's, for each era. A modern client goes back to the legacy era if it has to.
var connect = map[string]func(ctx context.Context, t *testing.T, url string) (client, error){
	"go-sdk modern": func(ctx context.Context, t *testing.T, url string) (client, error) {
		return connectGoSDK(ctx, t, url, "")
	},
	"go-sdk legacy": func(ctx context.Context, t *testing.T, url string) (client, error) {
		return connectGoSDK(ctx, t, url, "2025-11-25")
	},
	"mcp-go modern": func(ctx context.Context, t *testing.T, url string) (client, error) {
		return connectMCPGo(ctx, t, url)
	},
	"mcp-go legacy": func(ctx context.Context, t *testing.T, url string) (client, error) {
		//nolint:staticcheck // it is deprecated because it is of the legacy era, which is tested here
		return connectMCPGo(ctx, t, url, transport.WithContinuousListening())
	},
}

// newTransport returns connections that end with the test, before the server that they lead to.
func newTransport(t *testing.T) *http.Transport {
	t.Helper()
	connections := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(connections.CloseIdleConnections)
	return connections
}

type goSDKClient struct{ session *mcp.ClientSession }

func connectGoSDK(ctx context.Context, t *testing.T, url, version string) (client, error) {
	t.Helper()
	sdk := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{}}, nil
		},
	})
	s, err := sdk.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: url, HTTPClient: &http.Client{Transport: newTransport(t)},
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Close() })
	return goSDKClient{s}, nil
}

func (c goSDKClient) call(ctx context.Context, tool string) (string, error) {
	result, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: tool})
	if err != nil {
		return "", err
	}
	if result.IsError || len(result.Content) != 1 {
		return "", errTool
	}
	return result.Content[0].(*mcp.TextContent).Text, nil
}

func (c goSDKClient) sessionID() string { return c.session.ID() }

func (c goSDKClient) close() error { return c.session.Close() }

type mcpGoClient struct{ sdk *mcpgoclient.Client }

func connectMCPGo(
	ctx context.Context, t *testing.T, url string, opts ...transport.StreamableHTTPCOption,
) (client, error) {
	t.Helper()
	opts = append(opts, transport.WithHTTPBasicClient(&http.Client{Transport: newTransport(t)}))
	connection, err := transport.NewStreamableHTTP(url, opts...)
	require.NoError(t, err)
	sdk := mcpgoclient.NewClient(connection, mcpgoclient.WithElicitationHandler(accept{}))
	if err := sdk.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = sdk.Close() })
	_, err = sdk.Initialize(ctx, mcpgo.InitializeRequest{Params: mcpgo.InitializeParams{
		ProtocolVersion: mcpgo.LATEST_PROTOCOL_VERSION,
		ClientInfo:      mcpgo.Implementation{Name: "test", Version: "1"},
	}})
	if err != nil {
		return nil, err
	}
	return mcpGoClient{sdk}, nil
}

type accept struct{}

func (accept) Elicit(context.Context, mcpgo.ElicitationRequest) (*mcpgo.ElicitationResult, error) {
	return &mcpgo.ElicitationResult{ElicitationResponse: mcpgo.ElicitationResponse{
		Action: mcpgo.ElicitationResponseActionAccept, Content: map[string]any{},
	}}, nil
}

func (c mcpGoClient) call(ctx context.Context, tool string) (string, error) {
	result, err := c.sdk.CallTool(ctx, mcpgo.CallToolRequest{Params: mcpgo.CallToolParams{Name: tool}})
	if err != nil {
		return "", err
	}
	if result.IsError || len(result.Content) != 1 {
		return "", errTool
	}
	return result.Content[0].(mcpgo.TextContent).Text, nil
}

func (c mcpGoClient) sessionID() string { return c.sdk.GetSessionId() }

func (c mcpGoClient) close() error { return c.sdk.Close() }
