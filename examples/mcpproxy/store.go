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
	name     string
	options  redis.Options
	dialer   func(ctx context.Context, network, address string) (net.Conn, error)
	embedded *miniredis.Miniredis // nil if a Redis was given

	mu    sync.Mutex // guards following fields
	cut   bool
	conns []net.Conn
}

// startStore uses the Redis at the given address, or starts an embedded one if there is none.
func startStore(ctx context.Context, address string) (*store, error) {
	if address == "" {
		embedded, err := miniredis.Run()
		if err != nil {
			return nil, err
		}
		options := redis.Options{Addr: embedded.Addr()}
		return &store{name: "embedded", options: options, dialer: options.NewDialer(), embedded: embedded}, nil
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	return &store{name: "at " + options.Addr, options: *options, dialer: options.NewDialer()}, nil
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

func (s *store) stop() {
	if s.embedded != nil {
		s.embedded.Close()
	}
}
