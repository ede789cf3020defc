package session

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// commandLog is what a Redis server was asked to do by sessions' storages: the connections' own set-up does not count.
type commandLog struct {
	mu       sync.Mutex
	commands []string
}

func (l *commandLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	commands := l.commands
	l.commands = nil
	return commands
}

func (l *commandLog) hook(peer *server.Peer, command string, args ...string) bool {
	switch command {
	case "HELLO", "CLIENT", "AUTH", "SELECT":
		return false
	}
	if strings.Contains(fmt.Sprintf("%+v", peer.Ctx), "nested:true") {
		return false // called by a script
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = append(l.commands, command)
	return false
}

// miniRedis starts an embedded server on a port of its own.
func miniRedis(t *testing.T) (*miniredis.Miniredis, *redis.Client, *commandLog) {
	t.Helper()
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return m, client, logCommands(m)
}

// bubbleRedis starts an embedded server inside a synctest bubble: it is reached through pipes, and its keys expire by
// the bubble's clock. Close both before the bubble ends.
func bubbleRedis(t *testing.T) (*miniredis.Miniredis, *redis.Client, *commandLog) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	first, err := m.Dial() // which makes the server
	require.NoError(t, err)
	require.NoError(t, first.Close())
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379", // never dialled, but a name would be looked up
		Dialer:                func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		ContextTimeoutEnabled: true,
	})
	return m, client, logCommands(m)
}

func logCommands(m *miniredis.Miniredis) *commandLog {
	log := new(commandLog)
	m.Server().SetPreHook(log.hook)
	return log
}

// lossyLink is a TCP link to a server that can lose a reply: the request arrives, then the connection breaks.
type lossyLink struct {
	listener net.Listener
	lose     atomic.Bool
}

func newLossyLink(t *testing.T, server string) *lossyLink {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &lossyLink{listener: listener}
	var links sync.WaitGroup
	links.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			links.Go(func() { l.forward(client, server) })
		}
	})
	t.Cleanup(links.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	return l
}

func (l *lossyLink) addr() string { return l.listener.Addr().String() }

func (l *lossyLink) loseNextReply() { l.lose.Store(true) }

func (l *lossyLink) forward(client net.Conn, addr string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	go func() {
		defer func() { _ = server.Close() }()
		_, _ = io.Copy(server, client)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || l.lose.CompareAndSwap(true, false) {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}
