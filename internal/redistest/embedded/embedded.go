// Package embedded runs miniredis, a Redis inside the test's own process, for tests that count commands or use virtual
// time. It is a package of its own so that the users of redistest do without miniredis.
package embedded

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

// Start returns a server, a client of it, and a log of the commands that it gets. They end with the test.
func Start(t testing.TB) (*miniredis.Miniredis, *redis.Client, *CommandLog) {
	t.Helper()
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return m, client, logCommands(m)
}

// StartInBubble is [Start] for a synctest bubble: the server is reached through pipes, and its keys expire by the
// bubble's clock. The test closes the client and the server before the bubble ends.
func StartInBubble(t testing.TB) (*miniredis.Miniredis, *redis.Client, *CommandLog) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	first, err := m.Dial() // which makes the server
	if err != nil {
		t.Fatalf("embedded: %v", err)
	}
	_ = first.Close()
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:6379", // never dialled, but a name would be looked up
		Dialer:                func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
		ContextTimeoutEnabled: true,
	})
	return m, client, logCommands(m)
}

func logCommands(m *miniredis.Miniredis) *CommandLog {
	log := new(CommandLog)
	m.Server().SetPreHook(log.Hook)
	return log
}

// CommandLog holds the commands that a server got, without those that set up a connection or are called by a script.
type CommandLog struct {
	mu       sync.Mutex
	commands []string
}

// Take returns the commands since the last call.
func (l *CommandLog) Take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	commands := l.commands
	l.commands = nil
	return commands
}

// Hook is for a test that sets another hook of the server, which then calls this one.
func (l *CommandLog) Hook(peer *server.Peer, command string, _ ...string) bool {
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
