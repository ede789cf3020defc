package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

var errNotSeen = errors.New("a command has not been shown yet")

// Monitor is what MONITOR shows of a server, from when it was made: every command that the server executes, also those
// inside of scripts.
type Monitor struct {
	t      testing.TB
	server *Server

	mu     sync.Mutex // protects following fields
	text   strings.Builder
	marker int
}

// Monitor starts to listen. It ends with the test. The server must be one without TLS, and with all permissions for the
// default user.
func (s *Server) Monitor(t testing.TB) *Monitor {
	t.Helper()
	m := &Monitor{t: t, server: s}
	conn, err := net.Dial("tcp", s.Addr())
	if err == nil {
		_, err = conn.Write([]byte("MONITOR\r\n"))
	}
	if err != nil {
		t.Fatalf("redistest: MONITOR: %v", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { m.read(conn) })
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
	})
	m.Seen()
	return m
}

func (m *Monitor) read(conn net.Conn) {
	for buf := make([]byte, 1<<16); ; {
		n, err := conn.Read(buf)
		m.mu.Lock()
		m.text.Write(buf[:n])
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Seen returns everything up to now. Bytes that are not printable are escaped.
func (m *Monitor) Seen() string {
	m.t.Helper()
	m.mu.Lock()
	m.marker++
	marker := fmt.Sprintf(`"end of it %d"`, m.marker)
	m.mu.Unlock()
	var text string
	await(m.t, "MONITOR", func() error {
		err := m.server.admin(func(ctx context.Context, client *redis.Client) error {
			return client.Echo(ctx, strings.Trim(marker, `"`)).Err()
		})
		if err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if text = m.text.String(); !strings.Contains(text, marker) {
			return errNotSeen
		}
		return nil
	})
	return text
}
