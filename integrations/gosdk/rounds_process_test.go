package gosdk

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/requeststate"
)

func roundsReplica(client *redis.Client) (handler http.Handler, shutDown func()) {
	server := newServer(requeststate.NewStored(session.NewRedisStorage(client, time.Hour)))
	mcp.AddTool(server, &mcp.Tool{Name: "hang"}, // it asks once, and hangs when it has got the answer
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			if req.Params.RequestState == "" {
				return &mcp.CallToolResult{InputRequests: questionTo("?"), RequestState: "asked"}, nil, nil
			}
			_, _ = fmt.Fprintln(os.Stdout, "hanging")
			<-ctx.Done()
			return nil, nil, ctx.Err()
		})
	return auth.RequireBearerToken(verify, nil)(mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})), func() {}
}

// startProcesses starts three replicas as processes. hanging gets a message when a call hangs in one of them.
func startProcesses(t *testing.T, redisAddr string) (f *fleet, hanging <-chan struct{}) {
	t.Helper()
	f = newFleet()
	hung := make(chan struct{}, 3)
	for range 3 {
		p := startProcess(t, "rounds", redisAddr, func() { hung <- struct{}{} })
		f.replicas = append(f.replicas, &replica{addr: strings.TrimPrefix(p.url, "http://"), lose: p.kill})
	}
	return f, hung
}

// TestReplicaKilled kills the process that has asked a question, before the user answers.
func TestReplicaKilled(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for step := range questions {
		f, _ := startProcesses(t, redis.Addr())
		for _, name := range []string{"go-sdk modern", "mcp-go modern"} {
			u := &user{asked: func(n int) {
				if n == step {
					f.last().lose()
				}
			}}
			requireWizards(t, clients[name](t, "http://127.0.0.1", f.as(alice), u), u)
		}
		for _, r := range f.replicas {
			r.lose()
		}
	}
}

// TestReplicaKilledWithinStep kills the process after it has opened a requestState, and before it has answered. The
// state has gone with it, so the client begins anew.
func TestReplicaKilledWithinStep(t *testing.T) {
	t.Parallel()
	f, hanging := startProcesses(t, redistest.Start(t).Addr())
	c := raw{t: t, url: "http://127.0.0.1", web: f.as(alice), token: alice}
	params := map[string]any{"name": "hang"}
	first := c.call("tools/call", params)
	require.Equal(t, "input_required", first.Result.ResultType, first.body)

	var killed sync.WaitGroup
	killed.Go(func() {
		<-hanging
		f.last().lose()
	})
	// The balancer repeats the request on another replica, as some do.
	r := c.call("tools/call", repeated(params, first.Result.RequestState, "a"))
	killed.Wait()
	requireRejected(t, r, false, "the state went with the process")
	require.Equal(t, "input_required", c.call("tools/call", params).Result.ResultType, "it begins anew")
}
