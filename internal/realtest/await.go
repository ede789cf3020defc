package realtest

import (
	"errors"
	"testing"
	"time"
)

// Patience is how long a test waits for something that usually takes a second or two. It is for a machine under load.
const Patience = 30 * time.Second

var errNotYet = errors.New("not yet")

// Await waits until f returns true. It fails the test after Patience.
func Await(t testing.TB, what string, f func() bool) {
	t.Helper()
	awaitSuccess(t, what, func() error {
		if f() {
			return nil
		}
		return errNotYet
	})
}

// awaitSuccess waits until f returns no error. It fails the test with the last error after Patience.
func awaitSuccess(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s: %v", what, err)
		}
	}
}
