package mcphttp

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSessionsAreRouted(t *testing.T) {
	t.Parallel()
	st, peers := startStorage(), startPeers(t, 3)
	_, one := startProxy(t, st, peers)
	_, two := startProxy(t, st, peers)
	seen := make(map[string]int)
	for range 9 {
		id, name := begin(t, one)
		seen[name]++
		for _, proxy := range []string{one, two} {
			require.Equal(t, name, send(t, http.MethodPost, proxy, "{}", sessionHeader, id).body)
			require.Equal(t, name, send(t, http.MethodGet, proxy, "", sessionHeader, id).body)
		}
		require.Equal(t, http.StatusNoContent, send(t, http.MethodDelete, two, "", sessionHeader, id).status)
		require.Equal(t, http.StatusNotFound, send(t, http.MethodPost, one, "{}", sessionHeader, id).status)
		for _, s := range peers {
			require.False(t, s.has(id), "it was ended there, too")
		}
	}
	require.Equal(t, map[string]int{"a": 3, "b": 3, "c": 3}, seen)
}

func TestSessionsOfProxyHaveOwners(t *testing.T) {
	t.Parallel()
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get("User"), nil })
	_, proxy := startProxy(t, startStorage(), startPeers(t, 2), owner)
	id, name := begin(t, proxy, "User", "ann")
	require.Equal(t, name, send(t, http.MethodPost, proxy, "{}", sessionHeader, id, "User", "ann").body)
	require.Equal(t, http.StatusNotFound, send(t, http.MethodPost, proxy, "{}", sessionHeader, id, "User", "bob").status)
	require.Equal(t, http.StatusUnauthorized, send(t, http.MethodPost, proxy, "{}", sessionHeader, id).status)
	require.Equal(t, http.StatusUnauthorized, send(t, http.MethodPost, proxy, initialize).status)
}
