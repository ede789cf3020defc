package redistest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	s := StartSentinel(t)
	client := s.Client(t)
	require.NoError(t, client.Set(t.Context(), "key", "before", time.Hour).Err())

	old := s.FailOver(t)
	assert.NotSame(t, old, s.Master(t))
	await(t, "a read", func() error { return client.Get(t.Context(), "key").Err() })
	require.NoError(t, client.Set(t.Context(), "key", "after", time.Hour).Err())

	s.Shift(t, time.Hour)
	assert.ErrorIs(t, client.Get(t.Context(), "key").Err(), redis.Nil)
}
