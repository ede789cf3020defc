package realtest

import (
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/seed34611480/session/internal/leaktest"
)

// Main runs the tests of a package without logs, and fails when a goroutine outlives them. It returns the exit code for
// TestMain.
// Goroutines of others that cannot be ended are excepted, see [leaktest.Run].
func Main(m *testing.M, except ...string) int {
	// These tests stop servers on purpose, which would fill the output. A test of the log uses a logger of its own.
	logging.Disable()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	return leaktest.Run(m, except...)
}
