package topology

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that no goroutine outlives the tests. Close of a client of NewFailoverClusterClient does not end the
// subscription of go-redis to the sentinel.
func TestMain(m *testing.M) {
	os.Exit(realtest.Main(m, "(*sentinelFailover).listen", "redis/go-redis/v9.(*channel)."))
}
