package secrecy

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/leaktest"
)

// logged has everything that was logged while the tests ran: through the default loggers of the standard library, and
// by go-redis.
var logged buffer

func TestMain(m *testing.M) {
	log.SetOutput(&logged)
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	redis.SetLogger(clientLogger{})
	os.Exit(leaktest.Run(m))
}

type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// clientLogger is go-redis' own logger.
type clientLogger struct{}

func (clientLogger) Printf(_ context.Context, format string, v ...any) {
	_, _ = fmt.Fprintf(&logged, "go-redis: "+format+"\n", v...)
}
