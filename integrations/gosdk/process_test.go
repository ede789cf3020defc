package gosdk

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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

// processVariable has the address of Redis for a process that is a replica.
const processVariable = "GOSDK_TEST_REPLICA"

// beReplica is the main function of a replica. It prints its address, and runs until it is killed, or the test is.
func beReplica(redisAddr string) int {
	storage := session.NewRedisStorage(redis.NewClient(&redis.Options{Addr: redisAddr}), time.Hour)
	server := newServer(requeststate.NewStored(storage))
	mcp.AddTool(server, &mcp.Tool{Name: "hang"}, // it asks once, and hangs when it has got the answer
		func(ctx context.Context, req *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			if req.Params.RequestState == "" {
				return &mcp.CallToolResult{InputRequests: questionTo("?"), RequestState: "asked"}, nil, nil
			}
			_, _ = fmt.Fprintln(os.Stdout, "hanging")
			<-ctx.Done()
			return nil, nil, ctx.Err()
		})
	web := httptest.NewServer(auth.RequireBearerToken(verify, nil)(mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})))
	_, _ = fmt.Fprintln(os.Stdout, web.Listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// startProcesses starts three replicas as processes. hanging gets a message when a call hangs in one of them.
func startProcesses(t *testing.T, redisAddr string) (f *fleet, hanging <-chan struct{}) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	f = newFleet()
	hung := make(chan struct{}, 3)
	for range 3 {
		process := exec.CommandContext(t.Context(), program)
		process.Env = append(os.Environ(), processVariable+"="+redisAddr)
		process.Stderr = t.Output()
		_, err := process.StdinPipe() // it is closed when this process ends
		require.NoError(t, err)
		pipe, err := process.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, process.Start())
		out := bufio.NewScanner(pipe)
		var reader sync.WaitGroup
		lose := sync.OnceFunc(func() {
			_ = process.Process.Kill()
			reader.Wait()
			_ = process.Wait()
		})
		t.Cleanup(lose)
		require.True(t, out.Scan(), "the replica prints its address")
		f.replicas = append(f.replicas, &replica{addr: strings.TrimSpace(out.Text()), lose: lose})
		reader.Go(func() {
			for out.Scan() {
				hung <- struct{}{}
			}
		})
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
