package mcpgo

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that every goroutine that this package starts ends with the request.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }
