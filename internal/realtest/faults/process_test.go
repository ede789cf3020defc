//go:build unix

package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/netfault"
	"github.com/seed34611480/session/internal/realtest"
)

// startProcess runs this test binary again, with only TestReplicaProcess. These variables make that test a replica on
// the Redis at an address, with a MaxStaleness, and with fencing if the last one is not empty.
const (
	addressVariable   = "SESSION_TEST_REPLICA_OF"
	stalenessVariable = "SESSION_TEST_STALENESS"
	fencingVariable   = "SESSION_TEST_FENCING"
)

// TestReplicaProcess runs in the other process. It reads ids, loads each of them, and writes a line with the answer.
func TestReplicaProcess(t *testing.T) {
	addr := os.Getenv(addressVariable)
	if addr == "" {
		return // not the other process
	}
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	staleness, err := time.ParseDuration(os.Getenv(stalenessVariable))
	require.NoError(t, err)
	opts := []session.RoutingOption{session.WithMaxStaleness(staleness), session.WithLoadTimeout(2 * staleness)}
	if os.Getenv(fencingVariable) != "" {
		opts = append(opts, session.WithFencing())
	}
	st := session.NewRoutingStorage(session.NewRedisStorage(client, time.Hour), 1000, opts...)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	for ids := bufio.NewScanner(os.Stdin); ids.Scan(); {
		s, err := st.Load(t.Context(), ids.Text())
		version := ""
		if err == nil {
			version, _ = s.Get("version")
		}
		fmt.Fprintf(os.Stdout, "%s\t%s\t%v\n", st.Stats().Mode, version, err)
	}
}

// process is a replica in a process of its own.
type process struct {
	command *exec.Cmd

	mu      sync.Mutex // protects following fields
	in      io.Writer
	answers *bufio.Scanner
	mode    session.Mode // after the last answer
}

func startProcess(t *testing.T, addr string, staleness time.Duration, fencing bool) *process {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(program, "-test.run=^TestReplicaProcess$")
	command.Env = append(os.Environ(), addressVariable+"="+addr, stalenessVariable+"="+staleness.String())
	if fencing {
		command.Env = append(command.Env, fencingVariable+"=yes")
	}
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	require.NoError(t, err)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill() // a stopped process would not end by itself
		_ = command.Wait()
	})
	return &process{command: command, in: in, answers: bufio.NewScanner(out)}
}

// Load lets the process load a session.
func (p *process) Load(_ context.Context, id string) (*session.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.in, id); err != nil {
		return nil, err
	}
	if !p.answers.Scan() {
		return nil, fmt.Errorf("the process has ended: %w", p.answers.Err())
	}
	answer := strings.SplitN(p.answers.Text(), "\t", 3)
	if len(answer) != 3 {
		return nil, fmt.Errorf("the process answered %q", answer)
	}
	p.mode = session.Mode(answer[0])
	if answer[1] != "" {
		return session.New(id).With("version", answer[1]), nil
	}
	for _, err := range []error{session.ErrNotFound, session.ErrUnavailable} {
		if strings.Contains(answer[2], strings.TrimPrefix(err.Error(), "session: ")) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the process failed: %s", answer[2])
}

func (p *process) lastMode() session.Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, p.command.Process.Signal(s))
}

func TestFirstLoadOfAProcessThatWakes(t *testing.T) {
	t.Parallel()
	s := newScenario(t)
	link := netfault.Start(t, s.server.Addr())
	// Latency, so that heartbeats are on the link when the process stops. When it wakes, it receives them first.
	link.Set(netfault.ToClient, netfault.Fault{Latency: faultStaleness / 4})
	p := startProcess(t, link.Addr(), faultStaleness, false)
	s.reader = p
	require.NoError(t, s.store(t.Context(), changing))

	for round := range 4 {
		require.Eventually(t, func() bool {
			return s.load(t.Context(), changing) && p.lastMode() == session.ModeLeased
		}, realtest.Patience, time.Millisecond)
		time.Sleep(faultStaleness) // now only the lease allows the process to serve its copy

		p.signal(t, syscall.SIGSTOP)
		if round%2 == 1 {
			s.killSubscriptions() // the event is lost; in other rounds it waits for the process
		}
		require.NoError(t, s.store(t.Context(), changing))
		time.Sleep(faultStaleness)
		answered := make(chan bool, 1)
		go func() { answered <- s.load(t.Context(), changing) }()
		p.signal(t, syscall.SIGCONT)
		require.True(t, <-answered, "the first answer")
	}
	s.verify(t)
}
