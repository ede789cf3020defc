package redistest

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// callsOf matches a line of INFO commandstats: a command, perhaps with a subcommand, and how often it was called.
var callsOf = regexp.MustCompile(`cmdstat_([^|:]+)(?:\|[^:]+)?:calls=(\d+)`)

// Calls returns how often a server has executed each command, also in scripts. Subcommands count for their command.
// Any goroutine may call it.
func Calls(t testing.TB, client *redis.Client) map[string]int {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Errorf("redistest: INFO: %v", err)
	}
	calls := make(map[string]int)
	for _, match := range callsOf.FindAllStringSubmatch(info, -1) {
		n, err := strconv.Atoi(match[2])
		if err != nil {
			t.Errorf("redistest: INFO: %v", err)
		}
		calls[match[1]] += n
	}
	return calls
}
