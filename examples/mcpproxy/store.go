package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// store is the Redis that all replicas share, and a switch in the line between.
type store struct {
	name     string
	options  redis.Options
	dialer   func(ctx context.Context, network, address string) (net.Conn, error)
	embedded *miniredis.Miniredis // nil when a Redis was given

	mu    sync.Mutex // guards following fields
	cut   bool
	conns []net.Conn
}

// startStore uses the Redis at the given URL, or starts an embedded one when there is none.
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

// client returns a connection pool of its own for a replica, and the counter of the commands that it sent.
func (s *store) client() (*redis.Client, *commandCounter) {
	options := s.options
	options.Dialer = s.dial
	options.ContextTimeoutEnabled = true // so that the deadline of a request bounds its commands too
	options.DialerRetries = 1            // a client that is told to come back at once is better off than one that waits
	options.MaxRetries = 1
	client := redis.NewClient(&options)
	counter := new(commandCounter)
	client.AddHook(counter)
	return client, counter
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

// commandCounter counts the commands that Redis answered, without those that only set up a connection.
type commandCounter struct{ n atomic.Uint64 }

var _ redis.Hook = (*commandCounter)(nil)

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		c.count(cmd)
		return err
	}
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			c.count(cmd)
		}
		return err
	}
}

func (c *commandCounter) count(cmd redis.Cmder) {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return
	}
	var refusal redis.Error
	if err := cmd.Err(); err == nil || errors.As(err, &refusal) {
		c.n.Add(1)
	}
}
