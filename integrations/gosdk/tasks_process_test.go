package gosdk

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

const processLease = 1500 * time.Millisecond

func tasksReplica(client *redis.Client) (handler http.Handler, shutDown func()) {
	server := mcp.NewServer(&mcp.Implementation{Name: "replica", Version: "1"}, nil)
	tasks := InstallTasks(server, session.NewRedisStorage(client, time.Hour), AnonymousTasks(),
		WithLease(processLease), WithTool("once"), WithTool("again", TakeOver))
	for _, name := range []string{"once", "again"} {
		mcp.AddTool(server, &mcp.Tool{Name: name},
			func(ctx context.Context, _ *mcp.CallToolRequest, in sleepIn) (*mcp.CallToolResult, any, error) {
				// Who has begun, and how often, is counted where a killed process cannot take it along.
				n, err := client.Incr(ctx, "begun:"+in.Text).Result()
				if err != nil {
					return nil, nil, err
				}
				if n > 1 { // the first one takes long
					return text(fmt.Sprintf("run %d by %d", n, os.Getpid())), nil, nil
				}
				select {
				case <-time.After(time.Duration(in.Ms) * time.Millisecond):
					client.Incr(context.WithoutCancel(ctx), "finished:"+in.Text)
					return text(fmt.Sprintf("run %d by %d", n, os.Getpid())), nil, nil
				case <-ctx.Done():
					client.Set(context.WithoutCancel(ctx), "ended:"+in.Text, context.Cause(ctx).Error(), 0)
					return nil, nil, ctx.Err()
				}
			})
	}
	web := mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})
	return web, func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = tasks.Close(over)
	}
}

// taskProcess is a process with tasks, and a client of it.
type taskProcess struct {
	taskClient
	process *process
}

func startTaskProcess(t *testing.T, redisAddr string) taskProcess {
	t.Helper()
	p := startProcess(t, "tasks", redisAddr, func() {})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return taskProcess{
		taskClient{raw: raw{t: t, url: p.url, web: &http.Client{Transport: transport}, token: alice}}, p,
	}
}

func requireDied(t *testing.T, res taskResult, _ taskProcess) {
	t.Helper()
	require.Equal(t, taskFailed, res.Status)
	require.Equal(t, errRunnerDied.Message, res.StatusMessage)
}

func requireClosed(t *testing.T, res taskResult, _ taskProcess) {
	t.Helper()
	require.Equal(t, taskFailed, res.Status)
	require.Equal(t, errRunnerClosed.Message, res.StatusMessage)
}

func requireRunBy(t *testing.T, res taskResult, other taskProcess) {
	t.Helper()
	require.Equal(t, taskCompleted, res.Status)
	require.Contains(t, string(res.Result), fmt.Sprintf("run 2 by %d", other.process.cmd.Process.Pid))
}

func TestRunnerIsKilledOrPaused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	value := func(t *testing.T, key string) string {
		t.Helper()
		v, err := client.Get(t.Context(), key).Result()
		if err != redis.Nil { //nolint:errorlint // as go-redis returns it
			require.NoError(t, err)
		}
		return v
	}
	for name, test := range map[string]struct {
		tool   string
		stop   func(p *process)
		want   func(t *testing.T, res taskResult, other taskProcess)
		paused bool
	}{
		"killed, fails":          {"once", (*process).kill, requireDied, false},
		"killed, taken over":     {"again", (*process).kill, requireRunBy, false},
		"paused, fails":          {"once", (*process).pause, requireDied, true},
		"paused, taken over":     {"again", (*process).pause, requireRunBy, true},
		"shut down, fails":       {"once", (*process).end, requireClosed, false},
		"shut down, handed over": {"again", (*process).end, requireRunBy, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runner, other := startTaskProcess(t, server.Addr()), startTaskProcess(t, server.Addr())
			id := runner.call(test.tool, map[string]any{"ms": 3000, "text": name}).Result.TaskID
			require.NotEmpty(t, id)
			require.Eventually(t, func() bool { return value(t, "begun:"+name) == "1" }, 20*time.Second, time.Millisecond)
			require.Equal(t, taskWorking, other.get(id).Result.Status)
			test.stop(runner.process)
			res := other.await(id, taskWorking).Result
			test.want(t, res, other)

			if test.paused { // it goes on, finds that it has lost its task, and changes nothing
				runner.process.resume()
				require.Eventually(t, func() bool {
					return value(t, "ended:"+name) != "" || value(t, "finished:"+name) != ""
				}, 20*time.Second, time.Millisecond)
				require.Equal(t, res.Status, runner.get(id).Result.Status)
			}
			after := other.get(id).Result
			require.Equal(t, res.Status, after.Status)
			require.Equal(t, string(res.Result), string(after.Result))
			require.Equal(t, res.LastUpdatedAt, after.LastUpdatedAt)
		})
	}
}
