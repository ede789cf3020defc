package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of the demo's own. It listens on a socket in a folder of its own, and keeps nothing.
type redisServer struct {
	folder string
	shell  *exec.Cmd
	alive  io.Closer
}

// startRedisServer returns an error if there is no redis-server, or it does not start.
func startRedisServer(ctx context.Context) (_ *redisServer, err error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	s := new(redisServer)
	if s.folder, err = os.MkdirTemp("", "mcpproxy-"); err != nil {
		return nil, err
	}
	// The shell ends the server as soon as nothing holds its standard input open, even if this process was killed. The
	// context does not: the replicas leave first.
	//nolint:gosec // the program is a redis-server from PATH
	s.shell = exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", `"$0" "$@" </dev/null & read -r _; kill -9 $!`,
		program, "--port", "0", "--unixsocket", s.socket(), "--dir", s.folder, "--save", "", "--appendonly", "no")
	if s.alive, err = s.shell.StdinPipe(); err == nil {
		err = s.shell.Start()
	}
	if err == nil {
		if err = s.ready(ctx); err != nil {
			s.stop()
		}
		return s, err
	}
	_ = os.RemoveAll(s.folder)
	return nil, err
}

func (s *redisServer) socket() string { return filepath.Join(s.folder, "redis.sock") }

func (s *redisServer) options() redis.Options {
	return redis.Options{Network: "unix", Addr: s.socket()}
}

// ready waits until the server answers.
func (s *redisServer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	options := s.options()
	client := redis.NewClient(&options)
	defer func() { _ = client.Close() }()
	for {
		err := client.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *redisServer) stop() {
	_ = s.alive.Close()
	_ = s.shell.Wait()
	_ = os.RemoveAll(s.folder)
}
