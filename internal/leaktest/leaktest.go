// Package leaktest finds goroutines that outlive the tests of a package.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a goroutine that is about to end may take, on a machine under load.
const patience = 10 * time.Second

// Run runs the tests, and returns the exit code for TestMain. The run fails when a goroutine outlives the tests: every
// goroutine of this library ends with a Close or a context.
//
// Goroutines whose stacks contain one of the texts are left out: others have started them, and cannot end them.
func Run(m *testing.M, except ...string) int {
	code := m.Run()
	if left := remaining(except); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n\n%s\n", left)
		return 1
	}
	return code
}

// remaining waits for goroutines to end, and returns the stacks of those that do not.
func remaining(except []string) string {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		left := otherStacks(except)
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// otherStacks returns the stacks of all goroutines but the caller's, the one that os/signal never ends, and exceptions.
func otherStacks(except []string) []string {
	except = append([]string{"os/signal."}, except...)
	buf := make([]byte, 1<<20)
	all := strings.TrimSpace(string(buf[:runtime.Stack(buf, true)]))
	var others []string
	for _, stack := range strings.Split(all, "\n\n")[1:] { // the caller's comes first
		if !slices.ContainsFunc(except, func(text string) bool { return strings.Contains(stack, text) }) {
			others = append(others, stack)
		}
	}
	return others
}
