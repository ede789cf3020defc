package netfault

import (
	"net"
	"sync"
	"testing"
)

// Serve listens on a port of the loopback interface until the test ends, and returns its address. It calls serve for
// each connection, and closes that afterwards. In the end it waits for all calls, so they have to end with the client.
func Serve(t testing.TB, serve func(conn net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("netfault: %v", err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}
