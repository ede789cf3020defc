// Command longtask shows a tool that takes long, as a task of the Model Context Protocol, on three replicas of an MCP
// server: processes that have nothing in common but a Redis. The replica that runs the task is killed, and another one
// takes it over. A task that must not run twice fails instead. A task is cancelled through a replica that does not run
// it. The command reports what happens, and fails if an expectation is not met.
//
// serve is the part to copy.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/integrations/gosdk"
)

const (
	keyPrefix = "longtask-demo:"
	lease     = time.Second // short, so that the demo is short: the default is 30 s
	patience  = 30 * time.Second

	// In the environment of a replica: the URL of its Redis, and its name.
	redisOfReplica = "LONGTASK_REDIS"
	nameOfReplica  = "LONGTASK_NAME"
)

func main() {
	if url := os.Getenv(redisOfReplica); url != "" {
		exit(serve(url, os.Stdin, os.Stdout))
	}
	redisURL := flag.String("redis", "", "use the Redis at this `URL` (redis://host:port/db) instead of an embedded one")
	flag.Parse()
	exit(run(context.Background(), os.Stdout, *redisURL))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "longtask:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The server.

type input struct {
	Pages int `json:"pages"`
}

// serve is a replica, until in ends. It writes its address to out, and then what its handlers notice.
func serve(redisURL string, in io.Reader, out io.Writer) error {
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	storage := session.NewRedisStorage(client, time.Hour, session.WithKeyPrefix(keyPrefix))

	server := mcp.NewServer(&mcp.Implementation{Name: "longtask", Version: "1"}, nil)
	tasks := gosdk.InstallTasks(server, storage,
		gosdk.WithTool("render", gosdk.TakeOver), // to render a page again does no harm
		gosdk.WithTool("print"),                  // to print one again wastes paper
		gosdk.WithLease(lease),
		gosdk.AnonymousTasks()) // a server with authentication leaves this out: a task belongs to its user then
	for _, tool := range []string{"render", "print"} {
		mcp.AddTool(server, &mcp.Tool{Name: tool},
			func(ctx context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
				if err := work(ctx, in.Pages); err != nil {
					fmt.Fprintf(out, "%s stops: %v\n", tool, err)
					return nil, nil, err
				}
				done := fmt.Sprintf("%d pages by %s", in.Pages, os.Getenv(nameOfReplica))
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: done}}}, nil, nil
			})
	}

	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "http://"+listener.Addr().String())
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true})
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = web.Serve(listener) }()

	_, _ = io.Copy(io.Discard, in)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(tasks.Close(ctx), web.Close())
}

// work takes a twentieth of a second for each page.
func work(ctx context.Context, pages int) error {
	for range pages {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// The demo.

func run(ctx context.Context, out io.Writer, redisURL string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if redisURL == "" {
		embedded := miniredis.NewMiniRedis()
		if err := embedded.Start(); err != nil {
			return err
		}
		defer embedded.Close()
		redisURL = "redis://" + embedded.Addr()
	}
	d := &demo{ctx: ctx, out: out}
	defer func() {
		for _, r := range d.replicas {
			r.kill()
		}
	}()
	for i := range 3 {
		r, err := startReplica(i+1, redisURL)
		if err != nil {
			return err
		}
		d.replicas = append(d.replicas, r)
	}
	d.sayf("Three replicas, and one client that knows tasks. A lease takes %v.", lease)
	for _, part := range []func() error{d.cancelElsewhere, d.killAndFail, d.killAndTakeOver} {
		if err := part(); err != nil {
			return err
		}
	}
	d.sayf("\nAs expected.")
	return nil
}

type demo struct {
	ctx      context.Context
	out      io.Writer
	replicas []*replica
}

func (d *demo) sayf(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *demo) cancelElsewhere() error {
	d.sayf("\nA cancel through another replica")
	one, three := d.replicas[0], d.replicas[2]
	task, err := d.begin(one, "render", 10_000)
	if err != nil {
		return err
	}
	if _, err := three.send(d.ctx, "tasks/cancel", task.params()); err != nil {
		return err
	}
	cancelled := time.Now()
	d.sayf("  %s: cancelled", three.name)
	said, err := one.hears(d.ctx)
	if err != nil {
		return err
	}
	d.sayf("  %s: %s, %v after that", one.name, said, time.Since(cancelled).Round(100*time.Microsecond))
	return d.expect(d.replicas[1], task, "cancelled", "")
}

func (d *demo) killAndFail() error {
	d.sayf("\nA task that must not run twice, and whose runner is killed")
	return d.kill(d.replicas[0], "print", 10_000, "failed", "the server that ran the task has stopped")
}

func (d *demo) killAndTakeOver() error {
	d.sayf("\nA task that may run again, and whose runner is killed")
	return d.kill(d.replicas[1], "render", 50, "completed", "50 pages by replica 3")
}

// kill kills the replica that runs a task, and asks the last one for it.
func (d *demo) kill(runner *replica, tool string, pages int, status, text string) error {
	task, err := d.begin(runner, tool, pages)
	if err != nil {
		return err
	}
	other := d.replicas[2]
	if err := d.expect(other, task, "working", ""); err != nil {
		return err
	}
	runner.kill()
	d.sayf("  %s is killed", runner.name)
	return d.expect(other, task, status, text)
}

// begin calls a tool, which becomes a task.
func (d *demo) begin(r *replica, tool string, pages int) (result, error) {
	task, err := r.send(d.ctx, "tools/call", calling(tool, pages))
	if err != nil {
		return result{}, err
	}
	if task.ResultType != "task" || task.TaskID == "" {
		return result{}, fmt.Errorf("the call of %s has not become a task", tool)
	}
	d.sayf("  %s: %d pages to %s, a task", r.name, pages, tool) // its id is a secret
	return task, nil
}

// expect asks a replica for a task, as often as the server wants it, until the task is as expected.
func (d *demo) expect(r *replica, task result, status, text string) error {
	begun := time.Now()
	for {
		now, err := r.send(d.ctx, "tasks/get", task.params())
		if err != nil {
			return err
		}
		switch {
		case now.Status == status && now.text() == text:
			after := ""
			if waited := time.Since(begun).Round(100 * time.Millisecond); waited > 0 {
				after = fmt.Sprintf(" (after %v)", waited)
			}
			d.sayf("  %s: %s%s", r.name, strings.TrimSuffix(status+", "+text, ", "), after)
			return nil
		case now.Status != "working":
			return fmt.Errorf("the task is %s %q, and not %s %q", now.Status, now.text(), status, text)
		case time.Since(begun) > patience:
			return fmt.Errorf("the task is still working after %v", patience)
		}
		time.Sleep(time.Duration(now.PollIntervalMs) * time.Millisecond / 10) // a demo is in a hurry
	}
}

// The replicas, and the client.

type replica struct {
	name string
	url  string
	cmd  *exec.Cmd
	told chan string // what it writes
}

func startReplica(n int, redisURL string) (*replica, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &replica{name: fmt.Sprintf("replica %d", n), told: make(chan string, 100)}
	r.cmd = exec.Command(program) //nolint:gosec,noctx // it is this program, and ends when it is killed
	r.cmd.Env = append(os.Environ(), redisOfReplica+"="+redisURL, nameOfReplica+"="+r.name)
	r.cmd.Stderr = os.Stderr
	if _, err := r.cmd.StdinPipe(); err != nil { // it ends with this process at the latest
		return nil, err
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		r.kill()
		return nil, fmt.Errorf("%s does not start", r.name)
	}
	r.url = lines.Text()
	go func() {
		defer close(r.told)
		for lines.Scan() {
			r.told <- lines.Text()
		}
	}()
	return r, nil
}

// kill ends the process without a chance to tidy up. It may be called again.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill()
	for range r.told {
		continue // until it has ended
	}
	_ = r.cmd.Wait()
}

// hears waits for what a handler has to say.
func (r *replica) hears(ctx context.Context) (string, error) {
	select {
	case line := <-r.told:
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s says nothing: %w", r.name, ctx.Err())
	}
}

// result has what interests here of the results of all methods.
//
//nolint:tagliatelle // the names are those of the protocol
type result struct {
	ResultType     string `json:"resultType"`
	TaskID         string `json:"taskId"`
	Status         string `json:"status"`
	StatusMessage  string `json:"statusMessage"`
	PollIntervalMs int    `json:"pollIntervalMs"`
	Result         struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	} `json:"result"` // of the tool
}

func (r result) params() map[string]any { return map[string]any{"taskId": r.TaskID} }

// text is what a task has to say at its end.
func (r result) text() string {
	switch {
	case len(r.Result.Content) > 0:
		return r.Result.Content[0].Text
	case r.Status == "failed":
		return r.StatusMessage
	}
	return ""
}

func calling(tool string, pages int) map[string]any {
	return map[string]any{"name": tool, "arguments": input{pages}}
}

// send sends a request of protocol version 2026-07-28. It is written by hand, because the Go SDKs have no tasks yet.
func (r *replica) send(ctx context.Context, method string, params map[string]any) (result, error) {
	params["_meta"] = map[string]any{
		"io.modelcontextprotocol/protocolVersion": "2026-07-28",
		"io.modelcontextprotocol/clientCapabilities": map[string]any{
			"extensions": map[string]any{"io.modelcontextprotocol/tasks": map[string]any{}},
		},
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return result{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return result{}, err
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {method},
	}
	for _, key := range []string{"name", "taskId"} {
		if name, ok := params[key].(string); ok {
			req.Header.Set("Mcp-Name", name)
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return result{}, err
	}
	text := string(answer)
	if _, data, streamed := strings.Cut(text, "data: "); streamed {
		text, _, _ = strings.Cut(data, "\n")
	}
	var message struct {
		Result result `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(text), &message); err != nil {
		return result{}, err
	}
	if message.Error != nil {
		return result{}, fmt.Errorf("%s, %s: %s", r.name, method, message.Error.Message)
	}
	return message.Result, nil
}
