package expiry

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain checks that no goroutine outlives the tests.
func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
