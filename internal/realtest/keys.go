package realtest

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// KeyOf returns the Redis key of a session.
func KeyOf(id string) string { return "session:" + id }

// SameSlot returns another id, whose key is in the same slot of a Cluster.
func SameSlot(id, name string) string {
	return "{" + KeyOf(id) + "}" + strings.ReplaceAll(name, " ", "-")
}

// HostPort returns the two parts of a server's address.
func HostPort(t testing.TB, server *redistest.Server) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(server.Addr())
	require.NoError(t, err)
	return host, port
}
