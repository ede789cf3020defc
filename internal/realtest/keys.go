package realtest

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// KeyOf returns the Redis key of a session.
func KeyOf(id string) string { return "session: " + id }

// SameSlot returns another id, whose key is in the same slot of a Cluster. Neither has braces.
func SameSlot(id, name string) string {
	slot := slotOf(KeyOf(id))
	for i := 0; ; i++ {
		other := fmt.Sprint(id, "-", strings.ReplaceAll(name, " ", "-"), "-", i)
		if slotOf(KeyOf(other)) == slot {
			return other
		}
	}
}

// ShardChannelKey returns a key in the slot of the shard channel that the events of a session use.
func ShardChannelKey(id string) string {
	slot := slotOf(KeyOf(id)) / 256 * 256
	for i := 0; ; i++ {
		if key := fmt.Sprint("key", i); slotOf(key) == slot {
			return key
		}
	}
}

// slotOf returns the slot of a key without braces: its CRC-16 by XMODEM, of which a Cluster uses 14 bits.
func slotOf(key string) uint16 {
	var crc uint16
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return crc % 16384
}

// HostPort returns the two parts of a server's address.
func HostPort(t testing.TB, server *redistest.Server) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(server.Addr())
	require.NoError(t, err)
	return host, port
}
