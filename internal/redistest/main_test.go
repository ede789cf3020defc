package redistest

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain checks that the tests wait for every process and close every client.
func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
