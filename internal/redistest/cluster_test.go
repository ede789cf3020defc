package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClusterFailsOverAndBack(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3, 1)
	client := c.Client(t)
	require.NoError(t, client.Set(t.Context(), "key", "before", 0).Err())

	first := c.FailOver(t, "key")
	await(t, "a write", func() error { return client.Set(t.Context(), "key", "after", 0).Err() })
	second := c.Master(t, "key")
	assert.NotSame(t, first, second)

	first.Restart()
	c.Await(t)
	assert.Same(t, second, c.FailOver(t, "key"))
	assert.Same(t, first, c.Master(t, "key"))
	await(t, "a read", func() error { return client.Get(t.Context(), "key").Err() })
	assert.Equal(t, "after", client.Get(t.Context(), "key").Val(), "the restarted node had no copy")
}

func TestShiftOfACluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3, 0)
	client := c.Client(t)
	keys := []string{"a", "b", "c", "d", "e", "f"}
	for _, key := range keys {
		require.NoError(t, client.Set(t.Context(), key, "", time.Hour).Err())
	}

	c.Shift(t, time.Hour)
	for _, key := range keys {
		assert.ErrorIs(t, client.Get(t.Context(), key).Err(), redis.Nil)
	}
}
