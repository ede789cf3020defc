package session_test

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

// TestMain fails the run if a goroutine outlives the tests: everything that this package starts ends with a Close or a
// context.
func TestMain(m *testing.M) {
	// Tests break servers all the time. Tests of the log have their own logger.
	logging.Disable()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	code := m.Run()
	if leaked := leakedGoroutines(); code == 0 && leaked != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n\n%s\n", leaked)
		code = 1
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of the goroutines that do not belong to the test binary itself. Goroutines that
// are just ending get a moment to do so.
func leakedGoroutines() string {
	deadline := time.Now().Add(5 * time.Second)
	for {
		var leaked []string
		for stack := range strings.SplitSeq(allStacks(), "\n\n") {
			if !strings.Contains(stack, "TestMain(") && !strings.Contains(stack, "os/signal.") {
				leaked = append(leaked, stack)
			}
		}
		if len(leaked) == 0 || time.Now().After(deadline) {
			return strings.Join(leaked, "\n\n")
		}
		runtime.Gosched()
	}
}

func allStacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
