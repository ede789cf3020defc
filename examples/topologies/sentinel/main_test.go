package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestSentinel(t *testing.T) {
	servers := redistest.StartSentinel(t,
		redistest.WithConfig("user app resetchannels on >secret ~session:* &session:!* +@all"))
	var addrs []string
	for _, server := range servers.Sentinels {
		addrs = append(addrs, server.Addr())
	}
	args := []string{"-sentinels", strings.Join(addrs, ","), "-user", "app", "-master"}
	t.Setenv("REDIS_PASSWORD", "secret")

	var out bytes.Buffer
	require.NoError(t, run(t.Context(), append(args, redistest.MasterName), &out))
	require.Regexp(t, `mode +leased`, out.String())
	servers.FailOver(t)
	require.NoError(t, run(t.Context(), append(args, redistest.MasterName), &out), "after a failover")
	require.Error(t, run(t.Context(), append(args, "another"), io.Discard))
}
