package nearcache

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain checks that everything a cache starts ends at Close.
func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
