package topology

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that no goroutine outlives the tests.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }
