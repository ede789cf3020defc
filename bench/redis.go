package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is a redis-server process on loopback.
type server struct {
	addr    string
	version string
	args    []string
	process *exec.Cmd
	dir     string
	admin   *redis.Client
}

// startRedis starts a server without persistence, unless the further arguments say otherwise.
func startRedis(ctx context.Context, args ...string) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-redis-")
	if err != nil {
		return nil, err
	}
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), dir: dir}
	s.args = append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no",
	}, args...)
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2, DisableIdentity: true})
	if err := s.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) start(ctx context.Context) (err error) {
	s.process = exec.CommandContext(ctx, "redis-server", s.args...) //nolint:gosec // the arguments are ours
	if err := s.process.Start(); err != nil {
		return err
	}
	s.version, err = s.await(ctx)
	return err
}

// restart kills the server, and starts it again at the same address with what it has on disk.
func (s *server) restart(ctx context.Context) error {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	return s.start(ctx)
}

// pause stops the process for a while, without closing its connections.
func (s *server) pause(d time.Duration) error {
	if err := s.process.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(d)
	return s.process.Process.Signal(syscall.SIGCONT)
}

// freePort finds a port that is free now.
func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// await waits until the server answers, and checks that it is this one: another server may have taken the port first.
func (s *server) await(ctx context.Context) (version string, err error) {
	for range 100 {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	info, err := s.info(ctx, "server")
	if err == nil && info["process_id"] != strconv.Itoa(s.process.Process.Pid) {
		err = errors.New("another server has taken the port")
	}
	return info["redis_version"], err
}

func (s *server) close() {
	_ = s.admin.Close()
	if s.process.Process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

func (s *server) reset(ctx context.Context) error { return s.admin.FlushAll(ctx).Err() }

// client returns a client with go-redis' own defaults.
func (s *server) client() *redis.Client { return redis.NewClient(&redis.Options{Addr: s.addr}) }

// info returns a section of INFO.
func (s *server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.admin.Info(ctx, section).Result()
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, err
}

// calls is the number of times that the server has executed each command, including calls by scripts.
type calls map[string]int

func (s *server) calls(ctx context.Context) (calls, error) {
	fields, err := s.info(ctx, "commandstats")
	if err != nil {
		return nil, err
	}
	counts := make(calls)
	for name, value := range fields {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok || command == "info" { // INFO is this function's own command
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("commandstats: %w", err)
		}
		counts[command] = n
	}
	return counts, nil
}

// since returns the calls after an earlier reading.
func (c calls) since(earlier calls) calls {
	difference := make(calls)
	for command, n := range c {
		if n -= earlier[command]; n > 0 {
			difference[command] = n
		}
	}
	return difference
}

// sum returns the number of all calls.
func (c calls) sum() (total int) {
	for _, n := range c {
		total += n
	}
	return total
}
