package nearcache

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// goroutine returns the name of the goroutine that calls it.
func goroutine() string {
	var b [64]byte
	name, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
	return string(name)
}

// TestLoadsShareAGoroutine: loads that come one after the other use one goroutine, until there was none for a while.
func TestLoadsShareAGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const loads = 5
		used := map[string]int{}
		src := newSource()
		c := newReplica(src, func(_ *source, config *Config[state]) {
			config.Load = func(_ context.Context, id string) (*state, uint64, error) {
				used[goroutine()]++
				return newState(id, "v", 1), 1, nil
			}
		})
		defer c.Close()
		load := func(first int) {
			for i := range loads {
				require.NoError(t, c.load(t.Context(), numbered(first+i)).err)
				synctest.Wait() // the load has returned, and so has the goroutine
			}
		}
		load(0)
		require.Len(t, used, 1)
		time.Sleep(2 * c.config.LoadTimeout)
		synctest.Wait()
		load(loads)
		require.Len(t, used, 2)
	})
}
