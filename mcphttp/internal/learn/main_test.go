package learn

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain checks that no goroutine is left.
func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
