package redistest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// LossyLink is a TCP link to a server that can lose a reply: the request arrives, then the connection breaks.
type LossyLink struct {
	listener net.Listener
	lose     atomic.Bool
}

// StartLossyLink starts a link that ends with the test.
func StartLossyLink(t testing.TB, server string) *LossyLink {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	l := &LossyLink{listener: listener}
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

// Addr returns where clients connect to.
func (l *LossyLink) Addr() string { return l.listener.Addr().String() }

// LoseNextReply breaks the connection that the next reply comes on.
func (l *LossyLink) LoseNextReply() { l.lose.Store(true) }

func (l *LossyLink) forward(client net.Conn, addr string) {
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
