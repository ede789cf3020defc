package leaktest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestGoroutineThatIsLeft(t *testing.T) {
	running, end := make(chan struct{}), make(chan struct{})
	go func() {
		close(running)
		<-end
	}()
	<-running
	require.Contains(t, strings.Join(otherStacks(nil), "\n"), "TestGoroutineThatIsLeft.func1")
	close(end)
}
