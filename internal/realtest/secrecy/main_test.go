package secrecy

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/leaktest"
	"github.com/seed34611480/session/internal/logtest"
)

// logged has everything that was logged while the tests ran: through the default loggers of the standard library, and
// by go-redis.
var logged logtest.Log

func TestMain(m *testing.M) {
	log.SetOutput(&logged)
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	redis.SetLogger(clientLogger{})
	os.Exit(leaktest.Run(m))
}

// clientLogger is go-redis' own logger.
type clientLogger struct{}

func (clientLogger) Printf(_ context.Context, format string, v ...any) {
	_, _ = fmt.Fprintf(&logged, "go-redis: "+format+"\n", v...)
}
