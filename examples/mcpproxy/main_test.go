package main

import (
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/seed34611480/session/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// secret matches what crypto/rand.Text makes, such as session ids, tasks and handles.
var secret = regexp.MustCompile(`[A-Z2-7]{26}`)

func TestDemo(t *testing.T) {
	before := runtime.NumGoroutine()
	timeLimit = time.Minute // with the race detector, beside other tests
	var told strings.Builder
	failed, err := run(t.Context(), io.MultiWriter(t.Output(), &told), "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, expectation := range failed {
		t.Error("not met:", expectation)
	}
	if id := secret.FindString(told.String()); id != "" {
		t.Error("the report shows a session, a task or a handle")
	}

	// Connections take a moment to close.
	deadline := time.Now().Add(3 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("%d goroutines before, %d after:\n%s", before, n, &stacks)
	}
}
