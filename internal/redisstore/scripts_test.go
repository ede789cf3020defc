package redisstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// reply is an error of a server.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestCodeOfAnError(t *testing.T) {
	t.Parallel()
	const running = "ERR Error running script (call to f_5b0e): @user_script:12: "
	for text, code := range map[string]string{
		"OOM command not allowed when used memory > 'maxmemory'. script: 5b0e, on @user_script:12.": "OOM",
		"ERR unknown command 'foo'":                                          "ERR",
		running + "@user_script: 12: -NOREPLICAS Not enough good replicas.":  "NOREPLICAS", // Redis 6
		running + "@user_script: 12: Unknown Redis command called":           "ERR",
		"@user_script: 12: -NOREPLICAS Not enough good replicas to write.":   "NOREPLICAS",
		"@user_script: 7: Unknown Redis command called from Lua script":      "@user_script:",
		"ERR bad id @user_script: 12: -NOREPLICAS Not enough good replicas.": "ERR",
		"": "",
	} {
		require.True(t, hasCode(fmt.Errorf("hook: %w", reply(text)), "X", code), text)
		require.False(t, hasCode(reply(text), "X"), text)
	}
	require.False(t, hasCode(errors.New("NOREPLICAS "), "NOREPLICAS"), "no reply")
}
