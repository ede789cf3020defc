package redisstore

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/seed34611480/session/internal/leaktest"
)

// TestMain checks that a watch ends with its context.
func TestMain(m *testing.M) {
	logging.Disable() // tests take servers away
	os.Exit(leaktest.Run(m))
}
