// Command basket shows tools that share a basket, on three replicas of an MCP server that have nothing in common but a
// Redis. A client gets a handle for its basket, and names it in later calls, which reach other replicas. Two users try
// it, with clients of the protocol of 2026-07-28 and of an older one; the handle of one user is unknown to the other.
// It reports what happens, and fails if an expectation is not met.
//
// addTools and startReplica are the part to copy.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/integrations/gosdk"
)

const keyPrefix = "basket-demo:"

func main() {
	redisURL := flag.String("redis", "", "use the Redis at this `URL` (redis://host:port/db) instead of an embedded one")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *redisURL); err != nil {
		fmt.Fprintln(os.Stderr, "basket:", err)
		os.Exit(1)
	}
}

// The server.

// basket is what is kept behind a handle.
type basket struct {
	Items []string `json:"items"`
}

type (
	opened struct {
		Basket string `json:"basket" jsonschema:"pass this to the other tools; it ends an hour after its last use"`
	}
	item struct {
		Basket string `json:"basket"`
		Item   string `json:"item"`
	}
	// contents are never null: the schema of a tool's output wants a list.
	contents struct {
		Items []string `json:"items"`
	}
)

const maxItems = 3

var errFull = errors.New("the basket is full: check out first")

// addTools adds the three tools. For binds the baskets to the user of a request, so none of them compares owners. A
// model reads the errors: ToolError tells it whether to begin anew or to try again.
func addTools(server *mcp.Server, baskets *handle.Store[basket]) {
	mcp.AddTool(server, &mcp.Tool{Name: "open_basket", Description: "Opens a new basket."},
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, opened, error) {
			h, err := gosdk.For(baskets, req).Mint(ctx, basket{Items: []string{}})
			return nil, opened{h}, gosdk.ToolError(err)
		})
	mcp.AddTool(server, &mcp.Tool{Name: "add_item", Description: "Puts an item into a basket."},
		func(ctx context.Context, req *mcp.CallToolRequest, in item) (*mcp.CallToolResult, contents, error) {
			b, err := gosdk.For(baskets, req).Update(ctx, in.Basket, func(b *basket) error {
				if len(b.Items) == maxItems {
					return errFull
				}
				b.Items = append(b.Items, in.Item)
				return nil
			})
			return nil, contents(b), gosdk.ToolError(err)
		})
	mcp.AddTool(server, &mcp.Tool{Name: "check_out", Description: "Buys what is in a basket, which ends."},
		func(ctx context.Context, req *mcp.CallToolRequest, in opened) (*mcp.CallToolResult, contents, error) {
			b, err := gosdk.For(baskets, req).Take(ctx, in.Basket) // at most one call gets it
			return nil, contents(b), gosdk.ToolError(err)
		})
}

// replica is a server as it would be deployed, but for its process.
type replica struct {
	url      *url.URL
	client   *redis.Client
	sessions *session.RoutingStorage
	server   *http.Server
}

func startReplica(options *redis.Options) (*replica, error) {
	client := redis.NewClient(options)
	remote := session.NewRedisStorage(client, time.Hour, session.WithKeyPrefix(keyPrefix))
	sessions := session.NewRoutingStorage(remote, 10_000, session.WithLogger(slog.New(slog.DiscardHandler)))

	server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
	addTools(server, handle.New[basket](sessions, "basket", handle.WithMaxLifetime(24*time.Hour)))

	// A stateless server serves both eras of the protocol, as long as it does not ask clients of the older one.
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true})
	web, at, err := serve(auth.RequireBearerToken(verify, nil)(handler))
	return &replica{at, client, sessions, web}, err
}

func (r *replica) stop() { _ = errors.Join(r.server.Close(), r.sessions.Close(), r.client.Close()) }

// verify takes a token for the name of its user. A real one checks a signature.
func verify(_ context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	return &auth.TokenInfo{
		UserID: token, Expiration: time.Now().Add(time.Hour), Extra: map[string]any{"iss": "https://issuer.example"},
	}, nil
}

func serve(handler http.Handler) (*http.Server, *url.URL, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it takes no time
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	return server, &url.URL{Scheme: "http", Host: listener.Addr().String()}, nil
}

// balancer sends each request to the next replica. It knows nothing of MCP.
type balancer struct {
	httputil.ReverseProxy
	replicas []*replica
	requests atomic.Int64
}

func newBalancer(replicas []*replica) *balancer {
	b := &balancer{replicas: replicas}
	b.Rewrite = func(r *httputil.ProxyRequest) { r.SetURL(b.replicas[b.replicaOf(b.requests.Add(1))].url) }
	return b
}

// replicaOf returns which replica serves the n-th request.
func (b *balancer) replicaOf(n int64) int { return int(n-1) % len(b.replicas) }

// The clients.

type bearer string

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(req)
}

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

// client is what an agent of a user works with.
type client struct {
	*mcp.ClientSession
	user, version string
}

func connect(ctx context.Context, endpoint, user, version string) (client, error) {
	c := mcp.NewClient(&mcp.Implementation{Name: "demo", Version: "1"}, nil)
	cs, err := c.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: endpoint, HTTPClient: &http.Client{Transport: bearer(user)},
		DisableStandaloneSSE: true, // the servers are stateless
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	return client{cs, user, version}, err
}

// The demo.

type demo struct {
	out      io.Writer
	balancer *balancer
	failed   int
}

func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// call calls a tool, prints what it answers, and checks that. The handle is not printed: it is a secret.
func (d *demo) call(ctx context.Context, c client, tool string, arguments any, want string) *mcp.CallToolResult {
	res, err := c.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		res = &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: err.Error()}}}
	}
	answer := ""
	if text, ok := res.Content[0].(*mcp.TextContent); ok {
		answer = text.Text
	}
	if want == "" && err == nil {
		answer = "a handle"
	}
	mark := "✓"
	if want != "" && answer != want || err != nil {
		mark = "✗"
		d.failed++
	}
	shown := tool
	if in, ok := arguments.(item); ok {
		shown += " " + in.Item
	}
	d.printf("   %s %-7s (%s, replica %d)  %-15s %s\n", mark, c.user, c.version,
		d.balancer.replicaOf(d.balancer.requests.Load())+1, shown, answer)
	return res
}

func run(ctx context.Context, out io.Writer, redisURL string) error {
	if redisURL == "" {
		embedded, err := miniredis.Run()
		if err != nil {
			return err
		}
		defer embedded.Close()
		redisURL = "redis://" + embedded.Addr()
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	var replicas []*replica
	for range 3 {
		r, err := startReplica(options)
		if err != nil {
			return err
		}
		defer r.stop()
		replicas = append(replicas, r)
	}
	d := &demo{out: out, balancer: newBalancer(replicas)}
	server, at, err := serve(d.balancer)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // it is one

	if err := d.tell(ctx, at.String()); err != nil {
		return err
	}
	if d.failed > 0 {
		return fmt.Errorf("%d expectations are not met", d.failed)
	}
	return nil
}

const unknown = "unknown or expired handle: start again with the tool that returned it"

func (d *demo) tell(ctx context.Context, endpoint string) error {
	var clients []client
	for _, user := range []string{"alice", "mallory"} {
		for _, version := range []string{modern, legacy} {
			c, err := connect(ctx, endpoint, user, version)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			clients = append(clients, c)
		}
	}
	alice, aliceToo, mallory, malloryToo := clients[0], clients[1], clients[2], clients[3]

	d.printf("1. alice opens a basket and fills it, with clients of both eras, on one replica after the other\n")
	var out opened
	if err := structured(d.call(ctx, alice, "open_basket", nil, ""), &out); err != nil {
		return err
	}
	d.call(ctx, alice, "add_item", item{out.Basket, "shoes"}, `{"items":["shoes"]}`)
	d.call(ctx, aliceToo, "add_item", item{out.Basket, "socks"}, `{"items":["shoes","socks"]}`)
	d.call(ctx, alice, "add_item", item{out.Basket, "laces"}, `{"items":["shoes","socks","laces"]}`)
	d.call(ctx, aliceToo, "add_item", item{out.Basket, "a hat"}, errFull.Error())

	d.printf("\n2. mallory has found the handle in a chat log. To him it is as unknown as one that he invents\n")
	d.call(ctx, mallory, "add_item", item{out.Basket, "a brick"}, unknown)
	d.call(ctx, malloryToo, "add_item", item{out.Basket, "a brick"}, unknown)
	d.call(ctx, mallory, "check_out", out, unknown)
	d.call(ctx, mallory, "check_out", opened{"INVENTED"}, unknown)

	d.printf("\n3. alice checks out, once\n")
	d.call(ctx, aliceToo, "check_out", out, `{"items":["shoes","socks","laces"]}`)
	d.call(ctx, alice, "check_out", out, unknown)
	d.call(ctx, alice, "add_item", item{out.Basket, "a hat"}, unknown)
	return nil
}

// structured decodes the structured content of a result.
func structured(res *mcp.CallToolResult, v any) error {
	data, err := json.Marshal(res.StructuredContent)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
