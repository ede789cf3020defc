package nearcache

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNeighborsCountHitsOnShardsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for size := uintptr(2 << 10); size <= 64<<10; size *= 2 {
		shards := make(map[uint]bool)
		for i := range uintptr(hitCounters) {
			shards[shardOf((i+1)*size-100)%hitCounters] = true
		}
		require.Len(t, shards, hitCounters, "stacks of %d bytes", size)
	}
}

func TestHitsAreCountedFromAllGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, hits = 64, 1000
	var c counters
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for range hits {
				c.hit()
			}
		})
	}
	running.Wait()
	require.EqualValues(t, goroutines*hits, c.countHits())
}
