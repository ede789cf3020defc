package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// line connects a replica to Redis. It is a connection pool that counts commands and can lose the replica's change
// events.
type line struct {
	commandCounter

	client    *redis.Client
	eventsCut atomic.Bool
}

func (s *store) line() *line {
	l := new(line)
	options := s.options
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return l.wrap(conn), nil
	}
	l.client = newClient(options)
	l.client.AddHook(&l.commandCounter)
	return l
}

// wrap keeps the raw connection accessible, so that the pool can ask the operating system whether an idle connection
// still works.
func (l *line) wrap(c net.Conn) net.Conn {
	wrapped := &conn{Conn: c, line: l}
	if raw, ok := c.(syscall.Conn); ok {
		return struct {
			*conn
			syscall.Conn
		}{wrapped, raw}
	}
	return wrapped
}

// conn is a connection that goes silent while events are cut off, if it is the one that carries them: bytes are lost in
// both directions, without an error. Once it has lost bytes it stays silent, because TCP never leaves any out.
type conn struct {
	net.Conn

	line         *line
	events, lost atomic.Bool
}

func (c *conn) Write(p []byte) (int, error) {
	// The library sends heartbeats through a client of its own, with the same dialer, past the hook that counts the rest.
	// Their keys are no session's.
	if bytes.Contains(p, []byte("\r\nevalsha\r\n")) && bytes.Contains(p, []byte("\r\n"+keyPrefix+" !hb ")) {
		c.line.heartbeats.Add(1)
	}
	if bytes.Contains(p, []byte("\r\nsubscribe\r\n")) {
		c.events.Store(true)
	}
	if c.silent() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.silent() {
			return n, err
		}
	}
}

func (c *conn) silent() bool {
	if c.events.Load() && c.line.eventsCut.Load() {
		c.lost.Store(true)
	}
	return c.lost.Load()
}

// commandCounter counts the commands that Redis answered, except those that set up a connection.
type commandCounter struct {
	heartbeats atomic.Uint64 // counted as they are sent
	firstUses  atomic.Uint64 // of a script: Redis did not know it, so the command was sent again with the source
	indexes    atomic.Uint64 // of an owner's sessions, which Revoke asks, and of replicas, which Fence asks
	answered   atomic.Uint64 // all others
}

var _ redis.Hook = (*commandCounter)(nil)

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		c.count(cmd, err) // the error reaches the command only after this hook has returned
		return err
	}
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			c.count(cmd, cmd.Err())
		}
		return err
	}
}

func (c *commandCounter) count(cmd redis.Cmder, err error) {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return
	}
	if _, refused := errors.AsType[redis.Error](err); err != nil && !refused {
		return
	}
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		c.firstUses.Add(1)
	case slices.ContainsFunc(cmd.Args(), isIndex):
		c.indexes.Add(1)
	default:
		c.answered.Add(1)
	}
}

func isIndex(arg any) bool {
	key, ok := arg.(string)
	return ok && (strings.HasPrefix(key, keyPrefix+" !owner ") || strings.HasPrefix(key, keyPrefix+" !holders "))
}
