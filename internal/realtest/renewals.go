package realtest

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// RequireCheapRenewals lets real time pass, longer than the TTL, while streams keep as many sessions alive. It checks
// that this costs the server few commands.
func RequireCheapRenewals(t testing.TB, client *redis.Client, streams int, ttl, longer time.Duration) {
	t.Helper()
	commands := func() int {
		calls := redistest.Calls(t, client)
		return calls["evalsha"] + calls["eval"] + calls["getex"]
	}
	before, start := commands(), time.Now()
	<-time.After(longer)
	perSecond := float64(commands()-before) / time.Since(start).Seconds()
	t.Logf("%.0f commands a second with a TTL of %v, as %.1f with one of 30 minutes",
		perSecond, ttl, perSecond*ttl.Seconds()/(30*time.Minute).Seconds())
	// Each stream is renewed once every eighth to quarter of the TTL, 64 with one command if they are due together.
	require.Less(t, perSecond, 2*float64(streams)/64/(ttl.Seconds()/8))
}
