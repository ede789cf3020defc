package redistest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// busOffset is the distance of a Cluster node's second port from its first.
const busOffset = 10_000

// freePort finds a port that is free together with its bus port. Both are below the range of ports that kernels use for
// outgoing connections, so they stay free while a server is down.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12_000 + rand.IntN(busOffset)
		if isFree(port) && isFree(port+busOffset) {
			return port
		}
	}
	t.Fatal("redistest: no free port")
	return 0
}

func isFree(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
