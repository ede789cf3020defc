package conformance

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that every goroutine of the servers ends with them.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }
