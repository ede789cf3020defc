package scsstore

import (
	"os"
	"testing"

	"github.com/seed34611480/session/internal/realtest"
)

// TestMain checks that every goroutine that this package starts ends with its request. That of
// scs.New never does.
func TestMain(m *testing.M) { os.Exit(realtest.Main(m, "memstore.(*MemStore).startCleanup")) }
