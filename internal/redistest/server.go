// Package redistest runs real redis-server processes for tests, on free ports of the loopback interface: one server, a
// Cluster, or a master and a replica behind Sentinel. It needs redis-server in PATH, or the path of a redis-server or
// valkey-server in the environment variable REDIS_SERVER. Without either, tests that start a server are skipped; if the
// environment variable CI is set, they fail.
package redistest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is the longest time that a process may take for anything. It allows for a loaded machine; usually it takes
// milliseconds.
const patience = 30 * time.Second

// Server is one redis-server process. It ends with its test. Its methods fail the test on an error, so they must be
// called on the test's own goroutine.
type Server struct {
	t       testing.TB
	program string
	port    int
	dir     string
	mode    []string // further arguments
	tls     *tls.Config

	process *os.Process
	exited  chan struct{} // closed when process has ended and was waited for
}

// Start runs a server without persistence, and returns once it answers.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	program := lookUp(t)
	var c config
	for _, opt := range opts {
		opt(&c)
	}

	for {
		s := &Server{t: t, program: program, port: freePort(t), dir: t.TempDir(), mode: c.mode}
		s.configure(&c)
		t.Cleanup(s.Kill)
		err := s.launch()
		if err == nil {
			return s
		}
		// Another process may have taken the port after freePort found it.
		if !errors.Is(err, errPortTaken) {
			t.Fatalf("redistest: %v", err)
		}
	}
}

// Addr returns host and port.
func (s *Server) Addr() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// Client returns a client that is closed with the test; the functions change its options.
func (s *Server) Client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	opts := &redis.Options{Addr: s.Addr(), TLSConfig: s.TLS()}
	for _, f := range change {
		f(opts)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Stop shuts the server down in an orderly way, with the saving that it is configured for.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatalf("redistest: redis-server does not stop\n%s", s.log())
	}
}

// Kill ends the server at once: it saves nothing. It may have ended already.
func (s *Server) Kill() {
	if s.process == nil { // it failed to start
		return
	}
	_ = s.process.Kill()
	<-s.exited
}

// Restart stops the server if it runs, and starts it again with the same port and folder.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.launch(); err != nil {
		s.t.Fatalf("redistest: restart: %v", err)
	}
}

// Pause freezes the process: it keeps its connections, and the kernel accepts new ones, but nothing answers.
func (s *Server) Pause() { s.signal("STOP") }

// Continue ends a [Server.Pause].
func (s *Server) Continue() { s.signal("CONT") }

// signal uses the shell, because not every system that this package compiles on defines these signals.
func (s *Server) signal(name string) {
	s.t.Helper()
	command := exec.Command("sh", "-c", fmt.Sprintf("kill -%s %d", name, s.process.Pid))
	if out, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("redistest: signal %s: %v: %s", name, err, out)
	}
}

var errPortTaken = errors.New("port taken")

// launch starts the process and waits until it answers.
func (s *Server) launch() error {
	log, err := os.Create(filepath.Join(s.dir, logFile))
	if err != nil {
		return err
	}
	defer log.Close()

	command := exec.Command(s.program, append([]string{configFile}, s.mode...)...)
	command.Dir, command.Stdout, command.Stderr = s.dir, log, log
	command.SysProcAttr = attributes()
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	s.process, s.exited = command.Process, exited

	err = poll(func() error {
		if !s.running() {
			return errExited
		}
		return s.answers()
	})
	if err == nil {
		return nil
	}
	s.Kill()
	text := s.log()
	if strings.Contains(text, "Address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("redis-server did not start: %w\n%s", err, text)
}

// answers compares process ids instead of sending a PING: another server may have taken the port first.
func (s *Server) answers() error {
	// A client would log each refused attempt.
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		return err
	}
	_ = conn.Close()
	return s.admin(func(ctx context.Context, client *redis.Client) error {
		info, err := client.Info(ctx, "server").Result()
		if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.process.Pid)) {
			err = errPortTaken
		}
		return err
	})
}

// admin calls f with a client that has all permissions, on a connection that is closed afterwards: tests count
// connections.
func (s *Server) admin(f func(context.Context, *redis.Client) error) error {
	client := redis.NewClient(&redis.Options{
		Addr: s.Addr(), TLSConfig: s.TLS(), Username: adminName, Password: adminName,
		Protocol: 2, DisableIdentity: true, DialerRetries: 1, MaxRetries: -1, PoolSize: 1,
	})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f(ctx, client)
}

// do is admin, but fails the test on an error.
func (s *Server) do(t testing.TB, f func(context.Context, *redis.Client) error) {
	t.Helper()
	if err := s.admin(f); err != nil {
		t.Fatalf("redistest: %s: %v", s.Addr(), err)
	}
}

func (s *Server) running() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, logFile))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
