package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDeadlines: one timer ends each of many flights when its own time is up, and not before.
func TestDeadlines(t *testing.T) {
	const flights = 20
	step := 70 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		contexts := make(chan context.Context, flights)
		c := newReplica(newSource(), func(_ *source, config *Config[state]) {
			config.LoadTimeout = time.Second
			config.Load = func(ctx context.Context, id string) (*state, uint64, error) {
				if ctx.Value(flightContext{}) == "answers" {
					return newState(id, "v", 1), 1, nil
				}
				contexts <- ctx
				<-ctx.Done()
				return nil, 0, ctx.Err()
			}
		})
		defer c.Close()
		answers := context.WithValue(t.Context(), flightContext{}, "answers")
		took := make(chan time.Duration, flights)
		for i := range flights {
			go func() {
				begun := time.Now()
				assert.ErrorIs(t, c.load(t.Context(), numbered(i)).err, context.DeadlineExceeded)
				took <- time.Since(begun)
			}()
			if i < flights/2 { // after that the first flights end: there is an outage
				require.NoError(t, c.load(answers, numbered(flights+i)).err)
			}
			time.Sleep(step)
			if i == flights/2 {
				break
			}
		}
		for range flights/2 + 1 {
			require.Equal(t, time.Second, <-took)
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		require.Empty(t, c.deadlines.flights)
		require.Empty(t, c.loaders.idle)
		require.Zero(t, c.deadlines.next)
		for range flights/2 + 1 {
			ctx := <-contexts
			require.Equal(t, context.DeadlineExceeded, ctx.Err())
			_, limited := ctx.Deadline()
			require.True(t, limited)
		}
	})
}
