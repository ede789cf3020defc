package main

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// store is the Redis that all replicas share, behind a line that can be cut.
type store struct {
	name    string
	options redis.Options
	dialer  func(ctx context.Context, network, address string) (net.Conn, error)
	end     func()

	mu    sync.Mutex // guards following fields
	cut   bool
	conns []net.Conn
}

// startStore uses the Redis at the given address. If there is none, it starts a redis-server, if that is installed, or
// else an embedded one.
func startStore(ctx context.Context, address string) (*store, error) {
	if address != "" {
		return dialStore(ctx, address)
	}
	if server, err := startRedisServer(ctx); err == nil {
		options := server.options()
		return &store{name: "redis-server", options: options, dialer: options.NewDialer(), end: server.stop}, nil
	}
	embedded, err := miniredis.Run()
	if err != nil {
		return nil, err
	}
	options := redis.Options{Addr: embedded.Addr()}
	return &store{name: "embedded", options: options, dialer: options.NewDialer(), end: embedded.Close}, nil
}

func dialStore(ctx context.Context, address string) (*store, error) {
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	return &store{name: "at " + options.Addr, options: *options, dialer: options.NewDialer(), end: func() {}}, nil
}

var errCut = errors.New("the line to Redis is cut")

func (s *store) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.dialer(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errCut}
	}
	s.conns = append(s.conns, conn)
	return conn, nil
}

// takeAway breaks all connections to Redis, and prevents new ones.
func (s *store) takeAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
}

func (s *store) bringBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = false
}

// isCut reports whether Redis cannot be reached.
func (s *store) isCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

func (s *store) stop() { s.end() }
