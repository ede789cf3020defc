package redistest

import (
	"errors"
	"testing"
	"time"
)

var errExited = errors.New("the process has ended")

// poll calls f until it succeeds, f returns errExited, or patience is over. It returns f's last error.
func poll(f func() error) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil || errors.Is(err, errExited) || time.Now().After(deadline) {
			return err
		}
	}
}

// await fails the test unless f succeeds in time.
func await(t testing.TB, what string, f func() error) {
	t.Helper()
	if err := poll(f); err != nil {
		t.Fatalf("redistest: %s: %v", what, err)
	}
}
