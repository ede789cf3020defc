package gosdk

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that every goroutine that this package starts ends with a Close. Or it is one of the replicas that a
// test has started as processes.
func TestMain(m *testing.M) {
	if kind := os.Getenv(kindVariable); kind != "" {
		runReplica(kind, os.Getenv(redisVariable))
		return
	}
	os.Exit(realtest.Main(m))
}
