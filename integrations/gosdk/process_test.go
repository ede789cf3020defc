package gosdk

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The test binary is also the program of replicas: with these in its environment, the kind of a replica, and the
// address of its Redis.
const (
	kindVariable  = "GOSDK_TEST_REPLICA"
	redisVariable = "GOSDK_TEST_REDIS"
)

// kinds are the replicas that tests start as processes: what each serves, and how it is shut down.
var kinds = map[string]func(client *redis.Client) (handler http.Handler, shutDown func()){
	"rounds": roundsReplica,
	"tasks":  tasksReplica,
}

// runReplica prints the URL of a replica, and serves it until standard input ends.
func runReplica(kind, redisAddr string) {
	handler, shutDown := kinds[kind](redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true}))
	web := httptest.NewServer(handler)
	_, _ = fmt.Fprintln(os.Stdout, web.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
	shutDown()
}

// process is a replica that can be killed.
type process struct {
	t       *testing.T
	url     string
	cmd     *exec.Cmd
	stdin   io.Closer
	reading sync.WaitGroup // what it prints
}

// startProcess starts a replica, which ends with the test. printed is called for each line that it prints after its
// URL.
func startProcess(t *testing.T, kind, redisAddr string, printed func()) *process {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), program)}
	p.cmd.Env = append(os.Environ(), kindVariable+"="+kind, redisVariable+"="+redisAddr)
	p.cmd.Stderr = t.Output()
	p.stdin, err = p.cmd.StdinPipe() // it is closed when this process ends
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "the replica prints its URL")
	p.url = lines.Text()
	p.reading.Go(func() {
		for lines.Scan() {
			printed()
		}
	})
	return p
}

// kill returns when the replica has ended. It may be called again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.reading.Wait()
	_ = p.cmd.Wait()
}

func (p *process) pause()  { p.signal(syscall.SIGSTOP) }
func (p *process) resume() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// end lets the replica shut down.
func (p *process) end() { require.NoError(p.t, p.stdin.Close()) }
