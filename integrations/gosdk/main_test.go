package gosdk

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that every goroutine that this package starts ends with a Close. Or it is one of the replicas that a
// test has started as processes: see startProcesses and runReplica.
func TestMain(m *testing.M) {
	if addr := os.Getenv(processVariable); addr != "" {
		os.Exit(beReplica(addr))
	}
	if addr := os.Getenv(replicaOf); addr != "" {
		if err := runReplica(addr); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(realtest.Main(m))
}
