package mcptest

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that nothing of the library outlives the tests.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }
