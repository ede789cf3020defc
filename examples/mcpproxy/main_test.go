package main

import (
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

func TestDemo(t *testing.T) {
	before := runtime.NumGoroutine()
	failed, err := run(t.Context(), t.Output(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, expectation := range failed {
		t.Error("not met:", expectation)
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
