package redistest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
)

// TestMain checks that every process was waited for and every client was closed.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	err := poll(func() error {
		if runtime.NumGoroutine() > before {
			return errors.New("goroutines are left")
		}
		return nil
	})
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}
