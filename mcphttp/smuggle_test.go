package mcphttp

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a proxy goes by reaches the backend: a client cannot have it dropped on the way.
func TestConnectionRemovesNoHeaders(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers)
	send(t, http.MethodPost, proxy, initialize, versionHeader, modernSince, methodHeader, "initialize",
		"Connection", "keep-alive, mcp-protocol-version, MCP-METHOD, X-User, Upgrade", "Upgrade", "websocket",
		"Keep-Alive", "7", userHeader, "ann")
	got := peers[0].lastRequest().Header
	require.Equal(t, modernSince, got.Get(versionHeader))
	require.Equal(t, "initialize", got.Get(methodHeader))
	require.Equal(t, "ann", got.Get(userHeader))
	for _, name := range []string{"Connection", "Upgrade", "Keep-Alive"} {
		require.Empty(t, got.Get(name), name)
	}

	id, _ := begin(t, proxy)
	send(t, http.MethodPost, proxy, "{}", sessionHeader, id, "Connection", sessionHeader)
	require.Equal(t, id, peers[0].lastRequest().Header.Get(sessionHeader))
}
