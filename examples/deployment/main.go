// Command deployment shows a tool that asks three times before it acts, on three replicas of an MCP server that have
// nothing in common but a Redis. One of them is lost between two questions. Then requests are sent that no honest
// client sends: with the requestState of another user, of another call, or with one that was altered, used or has
// expired. It reports what happens, and fails if an expectation is not met.
//
// startReplica and deploy are the part to copy.
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
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/gosdk"
	"github.com/seed34611480/session/requeststate"
)

const (
	keyPrefix = "deployment-demo:"
	lifetime  = 2 * time.Second // of a requestState; short, so that the demo is short: the default is 10 minutes
)

func main() {
	redisURL := flag.String("redis", "", "use the Redis at this `URL` (redis://host:port/db) instead of an embedded one")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *redisURL); err != nil {
		fmt.Fprintln(os.Stderr, "deployment:", err)
		os.Exit(1)
	}
}

// The server.

// questions are what the tool has to know. Its state is the list of the answers so far.
var questions = []string{"In which region?", "How many instances?", "Replace what runs there?"}

type input struct {
	Service string `json:"service"`
}

// deploy returns the tool. It trusts the state that it gets: the middleware lets none pass that was not sealed for this
// user, this tool and these arguments. What the user answers is checked like any input.
func deploy(replica string) mcp.ToolHandlerFor[input, any] {
	return func(_ context.Context, req *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		answers := []string{}
		if state := req.Params.RequestState; state != "" {
			if err := json.Unmarshal([]byte(state), &answers); err != nil {
				return nil, nil, err
			}
			answer, ok := req.Params.InputResponses["answer"].(*mcp.ElicitResult)
			if !ok || answer.Action != "accept" {
				return text("nothing was deployed"), nil, nil
			}
			answers = append(answers, fmt.Sprint(answer.Content["text"]))
		}
		if len(answers) == len(questions) {
			return text(fmt.Sprintf("%s: deployed %s to %s", replica, in.Service, strings.Join(answers, ", "))), nil, nil
		}
		state, err := json.Marshal(answers)
		if err != nil {
			return nil, nil, err
		}
		return &mcp.CallToolResult{
			RequestState: string(state),
			InputRequests: mcp.InputRequestMap{"answer": &mcp.ElicitParams{
				Message: replica + ": " + questions[len(answers)],
				RequestedSchema: map[string]any{
					"type": "object", "properties": map[string]any{"text": map[string]any{"type": "string"}},
				},
			}},
		}, nil, nil
	}
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

// replica is a server as it would be deployed, but for its process.
type replica struct {
	url    *url.URL
	client *redis.Client
	server *http.Server
}

func startReplica(name string, options *redis.Options) (*replica, error) {
	client := redis.NewClient(options)
	storage := session.NewRedisStorage(client, time.Hour, session.WithKeyPrefix(keyPrefix))
	guard := requeststate.NewStored(storage, requeststate.WithLifetime(lifetime))

	server := mcp.NewServer(&mcp.Implementation{Name: "deployer", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "deploy", Description: "Deploys a service."}, deploy(name))
	mcp.AddTool(server, &mcp.Tool{Name: "remove", Description: "Removes a service."}, deploy(name))
	server.AddReceivingMiddleware(gosdk.RequestState(guard, gosdk.WithLogger(slog.New(slog.DiscardHandler))))

	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true})
	web, at, err := serve(auth.RequireBearerToken(verify, nil)(handler))
	return &replica{at, client, web}, err
}

func (r *replica) stop() { _, _ = r.server.Close(), r.client.Close() }

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

	mu       sync.Mutex // protects following fields
	replicas []*replica
	next     int
}

func newBalancer(replicas []*replica) *balancer {
	b := &balancer{replicas: replicas}
	b.Rewrite = func(r *httputil.ProxyRequest) {
		b.mu.Lock()
		defer b.mu.Unlock()
		r.SetURL(b.replicas[b.next%len(b.replicas)].url)
		b.next++
	}
	return b
}

// lose stops the replica that has served the last request.
func (b *balancer) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := (b.next - 1) % len(b.replicas)
	b.replicas[last].stop()
	b.replicas = append(b.replicas[:last:last], b.replicas[last+1:]...)
	b.next = last
}

// The clients.

type bearer string

func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(req)
}

// connect connects a client of a user. Without a function for the answers, its calls return the questions.
func connect(
	ctx context.Context, endpoint, user string, answer func(question string) string,
) (*mcp.ClientSession, error) {
	options := &mcp.ClientOptions{MultiRoundTrip: &mcp.MultiRoundTripOptions{Disabled: answer == nil}}
	if answer != nil {
		options.ElicitationHandler = func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			content := map[string]any{"text": answer(req.Params.Message)}
			return &mcp.ElicitResult{Action: "accept", Content: content}, nil
		}
	}
	return mcp.NewClient(&mcp.Implementation{Name: "demo", Version: "1"}, options).Connect(ctx,
		&mcp.StreamableClientTransport{Endpoint: endpoint, HTTPClient: &http.Client{Transport: bearer(user)}}, nil)
}

// call is the call of this demo, with the state and the answer that it is repeated with.
func call(requestState, answer string) *mcp.CallToolParams {
	params := &mcp.CallToolParams{Name: "deploy", Arguments: input{"shop"}, RequestState: requestState}
	if requestState != "" {
		content := map[string]any{"text": answer}
		params.InputResponses = mcp.InputResponseMap{"answer": &mcp.ElicitResult{Action: "accept", Content: content}}
	}
	return params
}

// The demo.

type demo struct {
	out      io.Writer
	endpoint string
	balancer *balancer
	failed   int
}

func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

func (d *demo) expectf(met bool, format string, args ...any) {
	mark := "✓"
	if !met {
		mark = "✗"
		d.failed++
	}
	d.printf("   %s %s\n", mark, fmt.Sprintf(format, args...))
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
	for _, name := range []string{"replica 1", "replica 2", "replica 3"} {
		r, err := startReplica(name, options)
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
	d.endpoint = at.String()

	if err := errors.Join(d.honest(ctx), d.attack(ctx)); err != nil {
		return err
	}
	if d.failed > 0 {
		return fmt.Errorf("%d expectations are not met", d.failed)
	}
	return nil
}

// honest has a call go on from replica to replica until it is done.
func (d *demo) honest(ctx context.Context) error {
	d.printf("1. alice calls the tool deploy for her shop, and one replica is lost meanwhile\n")
	answers, asked := []string{"eu-central", "3", "yes"}, 0
	alice, err := connect(ctx, d.endpoint, "alice", func(question string) string {
		answer := answers[min(asked, len(answers)-1)]
		d.printf("     %s %s\n", question, answer)
		if asked++; asked == 2 {
			d.balancer.lose()
			d.printf("     (this replica is gone now)\n")
		}
		return answer
	})
	if err != nil {
		return err
	}
	defer func() { _ = alice.Close() }()
	res, err := alice.CallTool(ctx, call("", ""))
	if err != nil {
		return err
	}
	answer, _ := res.Content[0].(*mcp.TextContent)
	d.expectf(strings.HasSuffix(answer.Text, "deployed shop to eu-central, 3, yes"), "%s", answer.Text)
	return nil
}

// attempt is a request with the requestState that alice has got with the first question.
type attempt struct {
	what     string
	user     string
	change   func(params *mcp.CallToolParams)
	accepted bool
}

var attempts = []attempt{
	{"one character is another", "alice", func(p *mcp.CallToolParams) {
		p.RequestState = p.RequestState[:len(p.RequestState)-1] + "!"
	}, false},
	{"for another service", "alice", func(p *mcp.CallToolParams) { p.Arguments = input{"bank"} }, false},
	{"for another tool", "alice", func(p *mcp.CallToolParams) { p.Name = "remove" }, false},
	{"as it is", "mallory", func(*mcp.CallToolParams) {}, false},
	{"invented", "mallory", func(p *mcp.CallToolParams) { p.RequestState = `["eu-central","3"]` }, false},
	{"as it is, it was not used up", "alice", func(*mcp.CallToolParams) {}, true},
	{"once more", "alice", func(*mcp.CallToolParams) {}, false},
}

func (d *demo) attack(ctx context.Context) error {
	d.printf("\n2. What else is sent with the requestState that alice gets with the first question\n")
	clients := map[string]*mcp.ClientSession{}
	for _, user := range []string{"alice", "mallory"} {
		client, err := connect(ctx, d.endpoint, user, nil)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		clients[user] = client
	}
	first, err := clients["alice"].CallTool(ctx, call("", ""))
	if err != nil {
		return err
	}
	for _, a := range attempts {
		params := call(first.RequestState, "eu-central")
		a.change(params)
		d.try(ctx, a, clients[a.user], params)
	}

	second, err := clients["alice"].CallTool(ctx, call("", ""))
	if err != nil {
		return err
	}
	time.Sleep(lifetime + 10*time.Millisecond)
	late := attempt{what: fmt.Sprintf("after %v, when it has expired", lifetime), user: "alice"}
	d.try(ctx, late, clients["alice"], call(second.RequestState, "eu-central"))
	return nil
}

// try makes an attempt, and prints the answer.
func (d *demo) try(ctx context.Context, a attempt, client *mcp.ClientSession, params *mcp.CallToolParams) {
	res, err := client.CallTool(ctx, params)
	rejected, _ := errors.AsType[*jsonrpc.Error](err)
	switch {
	case a.accepted:
		d.expectf(err == nil && res.NeedsInput(), "%-8s %-31s the next question", a.user, a.what)
	case rejected == nil:
		d.expectf(false, "%-8s %-31s not refused: %v", a.user, a.what, err)
	default:
		refused := rejected.Code == jsonrpc.CodeInvalidParams
		d.expectf(refused, "%-8s %-31s %d: %s", a.user, a.what, rejected.Code, rejected.Message)
	}
}
