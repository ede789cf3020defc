package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func TestCluster(t *testing.T) {
	servers := redistest.StartCluster(t, 3, 0,
		redistest.WithConfig("user app resetchannels on >secret ~session:* &session:!* +@all"))
	t.Setenv("REDIS_PASSWORD", "secret")
	args := []string{"-addrs", servers.Nodes[0].Addr() + "," + servers.Nodes[1].Addr(), "-user"}

	var out bytes.Buffer
	require.NoError(t, run(t.Context(), append(args, "app"), &out))
	require.Regexp(t, `mode +leased`, out.String())
	require.Error(t, run(t.Context(), append(args, "another"), io.Discard))
}
