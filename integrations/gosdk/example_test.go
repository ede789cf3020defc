package gosdk_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/integrations/gosdk"
	"github.com/seed34611480/session/requeststate"
)

// A tool that asks before it deploys. The first replica asks, and the second one goes on. The tool trusts its state,
// because the middleware lets none pass that it has not sealed for this user, tool and arguments.
func ExampleRequestState() {
	type input struct {
		Service string `json:"service"`
	}
	deploy := func(_ context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		answer, _ := req.Params.InputResponses["sure"].(*mcp.ElicitResult)
		switch {
		case req.Params.RequestState != "asked":
			return &mcp.CallToolResult{
				InputRequests: mcp.InputRequestMap{"sure": &mcp.ElicitParams{Message: "Deploy " + in.Service + "?"}},
				RequestState:  "asked",
			}, nil, nil
		case answer == nil || answer.Action != "accept":
			return text("nothing was deployed"), nil, nil
		default:
			return text(in.Service + " is deployed"), nil, nil
		}
	}

	storage := session.NewMemoryStorage(30 * time.Minute) // in production a RedisStorage
	replica := func() http.Handler {
		server := mcp.NewServer(&mcp.Implementation{Name: "deployer", Version: "1"}, nil)
		mcp.AddTool(server, &mcp.Tool{Name: "deploy"}, deploy)
		server.AddReceivingMiddleware(gosdk.RequestState(requeststate.NewStored(storage)))
		return auth.RequireBearerToken(verify, nil)(mcp.NewStreamableHTTPHandler(
			func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	}
	web := roundRobin(replica(), replica())
	defer web.Close()

	ctx := context.Background()
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			fmt.Println(req.Params.Message)
			return &mcp.ElicitResult{Action: "accept"}, nil
		},
	})
	cs, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: web.URL, HTTPClient: alice()}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cs.Close() }()
	call := &mcp.CallToolParams{Name: "deploy", Arguments: input{"shop"}}
	res, err := cs.CallTool(ctx, call)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(textOf(res))

	// A client that claims to have been asked:
	call.RequestState = "asked"
	call.InputResponses = mcp.InputResponseMap{"sure": &mcp.ElicitResult{Action: "accept"}}
	_, err = cs.CallTool(ctx, call)
	fmt.Println(err != nil)
	// Output:
	// Deploy shop?
	// shop is deployed
	// true
}

// Two tools that share a basket. For binds the store to the user of the request, so a handle works for its user only.
func ExampleFor() {
	type Basket struct {
		Items []string `json:"items"`
	}
	type opened struct {
		Basket string `json:"basket" jsonschema:"pass this to add_item; it ends after a day"`
	}
	type item struct {
		Basket string `json:"basket"`
		Item   string `json:"item"`
	}
	storage := session.NewMemoryStorage(24 * time.Hour) // in production a RoutingStorage on a RedisStorage
	baskets := handle.New[Basket](storage, "basket", handle.WithMaxLifetime(24*time.Hour))

	server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "open_basket"},
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, opened, error) {
			h, err := gosdk.For(baskets, req).Mint(ctx, Basket{Items: []string{}}) // nil would be null, no list
			return nil, opened{h}, gosdk.ToolError(err)
		})
	mcp.AddTool(server, &mcp.Tool{Name: "add_item"},
		func(ctx context.Context, req *mcp.CallToolRequest, in item) (*mcp.CallToolResult, Basket, error) {
			b, err := gosdk.For(baskets, req).Update(ctx, in.Basket, func(b *Basket) error {
				b.Items = append(b.Items, in.Item)
				return nil
			})
			return nil, b, gosdk.ToolError(err)
		})
	web := httptest.NewServer(auth.RequireBearerToken(verify, nil)(mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})))
	defer web.Close()

	ctx := context.Background()
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
	cs, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: web.URL, HTTPClient: alice()}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cs.Close() }()
	res, err := cs.CallTool(ctx, &mcp.CallToolParams{Name: "open_basket"})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, _ := res.StructuredContent.(map[string]any)
	for _, basket := range []any{out["basket"], "a basket of my own"} {
		res, err = cs.CallTool(ctx, &mcp.CallToolParams{
			Name: "add_item", Arguments: map[string]any{"basket": basket, "item": "shoes"},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.IsError, textOf(res))
	}
	// Output:
	// false {"items":["shoes"]}
	// true unknown or expired handle: start again with the tool that returned it
}

// verify takes a token for the name of its user. A real one checks a signature, and sets "iss" to the issuer.
func verify(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	return &auth.TokenInfo{
		UserID: token, Expiration: time.Now().Add(time.Hour), Extra: map[string]any{"iss": "https://issuer.example"},
	}, nil
}

// alice returns an HTTP client with a token of alice's.
func alice() *http.Client { return &http.Client{Transport: bearer("alice")} }

type bearer string

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(req)
}

// roundRobin is a balancer that knows nothing of MCP.
func roundRobin(replicas ...http.Handler) *httptest.Server {
	next := make(chan int, 1)
	next <- 0
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n := <-next
		next <- n + 1
		replicas[n%len(replicas)].ServeHTTP(w, req)
	}))
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

func textOf(res *mcp.CallToolResult) string {
	if len(res.Content) == 0 {
		return ""
	}
	content, _ := res.Content[0].(*mcp.TextContent)
	return content.Text
}
