package redistest

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/seed34611480/session/internal/netfault"
)

// LossyLink is a TCP link to a server that can lose a reply: the request arrives, then the connection breaks.
type LossyLink struct {
	addr string
	lose atomic.Bool
}

// StartLossyLink starts a link that ends with the test.
func StartLossyLink(t testing.TB, server string) *LossyLink {
	t.Helper()
	l := new(LossyLink)
	l.addr = netfault.Serve(t, func(client net.Conn) { l.forward(client, server) })
	return l
}

// Addr returns where clients connect to.
func (l *LossyLink) Addr() string { return l.addr }

// LoseNextReply breaks the connection that the next reply comes on.
func (l *LossyLink) LoseNextReply() { l.lose.Store(true) }

func (l *LossyLink) forward(client net.Conn, addr string) {
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
