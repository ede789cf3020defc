package gosdk

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOutageIsLoggedSeldom has an hour in which many tasks fail to be renewed, each second.
func TestOutageIsLoggedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tasks := &Tasks{taskOptions: defaultTaskOptions(), logged: make(map[string]time.Time)}
		tasks.logger = slog.New(slog.NewTextHandler(&log, nil))
		for range 3600 {
			for range 10 {
				tasks.logSeldom("renew a lease", errors.New("refused"))
			}
			tasks.logSeldom("watch the storage", errors.New("refused"))
			time.Sleep(time.Second)
		}
		require.Equal(t, 60, strings.Count(log.String(), "renew a lease"))
		require.Equal(t, 60, strings.Count(log.String(), "watch the storage"))
	})
}
