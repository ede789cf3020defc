package gosdk

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// The test binary is also the program of a replica: with this in its environment, the address of a Redis.
const replicaOf = "GOSDK_TEST_REPLICA_OF"

const processLease = 1500 * time.Millisecond

// runReplica serves tasks over HTTP until standard input ends, and prints its address.
func runReplica(addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "http://"+listener.Addr().String())
	web := &http.Server{Handler: mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})}
	go func() { _ = web.Serve(listener) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = tasks.Close(over)
	return web.Close()
}

// process is a replica that can be killed.
type process struct {
	taskClient
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func startProcess(t *testing.T, addr string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), replicaOf+"="+addr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &process{
		taskClient{raw: raw{t: t, url: line[:len(line)-1], web: &http.Client{Transport: transport}, token: alice}},
		cmd, stdin,
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

func (p *process) kill()  { p.signal(syscall.SIGKILL) }
func (p *process) pause() { p.signal(syscall.SIGSTOP) }
func (p *process) end()   { require.NoError(p.t, p.stdin.Close()) }

func requireDied(t *testing.T, res taskResult, _ *process) {
	t.Helper()
	require.Equal(t, taskFailed, res.Status)
	require.Equal(t, errRunnerDied.Message, res.StatusMessage)
}

func requireClosed(t *testing.T, res taskResult, _ *process) {
	t.Helper()
	require.Equal(t, taskFailed, res.Status)
	require.Equal(t, errRunnerClosed.Message, res.StatusMessage)
}

func requireRunBy(t *testing.T, res taskResult, other *process) {
	t.Helper()
	require.Equal(t, taskCompleted, res.Status)
	require.Contains(t, string(res.Result), fmt.Sprintf("run 2 by %d", other.cmd.Process.Pid))
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
		want   func(t *testing.T, res taskResult, other *process)
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
			runner, other := startProcess(t, server.Addr()), startProcess(t, server.Addr())
			id := runner.call(test.tool, map[string]any{"ms": 3000, "text": name}).Result.TaskID
			require.NotEmpty(t, id)
			require.Eventually(t, func() bool { return value(t, "begun:"+name) == "1" }, 20*time.Second, time.Millisecond)
			require.Equal(t, taskWorking, other.get(id).Result.Status)
			test.stop(runner)
			res := other.await(id, taskWorking).Result
			test.want(t, res, other)

			if test.paused { // it goes on, finds that it has lost its task, and changes nothing
				runner.signal(syscall.SIGCONT)
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
