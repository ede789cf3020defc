// Package leaktest finds goroutines that outlive the tests of a package.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long a goroutine that is about to end may take, on a machine under load.
const patience = 10 * time.Second

// Run runs the tests, and returns the exit code for TestMain. The run fails when a goroutine outlives the tests: every
// goroutine of this library ends with a Close or a context.
func Run(m *testing.M) int {
	code := m.Run()
	if left := remaining(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n\n%s\n", left)
		return 1
	}
	return code
}

// remaining waits for goroutines to end, and returns the stacks of those that do not.
func remaining() string {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := otherStacks()
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// otherStacks returns the stacks of all goroutines but the caller's and the one that os/signal never ends.
func otherStacks() []string {
	buf := make([]byte, 1<<20)
	all := strings.TrimSpace(string(buf[:runtime.Stack(buf, true)]))
	var others []string
	for _, stack := range strings.Split(all, "\n\n")[1:] { // the caller's comes first
		if !strings.Contains(stack, "os/signal.") {
			others = append(others, stack)
		}
	}
	return others
}
