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
	"time"

	"github.com/redis/go-redis/v9"
)

// server is a redis-server process on loopback, without persistence.
type server struct {
	addr    string
	version string
	process *exec.Cmd
	dir     string
	admin   *redis.Client
}

func startRedis(ctx context.Context) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-redis-")
	if err != nil {
		return nil, err
	}
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), dir: dir}
	//nolint:gosec // the port is ours
	s.process = exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no")
	if err := s.process.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2, DisableIdentity: true})
	if s.version, err = s.await(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
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
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
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

// sent returns the number of commands that clients have sent. The scripted commands must be sent by scripts only.
func (c calls) sent(scripted ...string) int {
	total := 0
	for _, n := range c {
		total += n
	}
	for _, command := range scripted {
		total -= c[command]
	}
	return total
}
