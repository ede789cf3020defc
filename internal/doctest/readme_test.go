package doctest

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readme(t *testing.T) []block {
	all := blocks(t, filepath.Join(root, "README.md"))
	require.Len(t, all, 2)
	return all
}

// TestProxyOfReadmeRuns runs two replicas of README's first program in front of two backends.
func TestProxyOfReadmeRuns(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	one, two := backend(t, "one"), backend(t, "two")
	file := build(t, readme(t)[0], nil)
	addresses := map[string]string{"6379": redis.Addr(), "9001": one, "9002": two}
	first := start(t, file, addresses)
	a, b := first.url, start(t, file, addresses).url

	began := send(t, http.MethodPost, a+"/mcp")
	require.Equal(t, http.StatusOK, began.status)
	require.NotEmpty(t, began.id)
	for _, url := range []string{a, b, a, b} {
		assert.Equal(t, began.text, send(t, http.MethodPost, url+"/mcp", "Mcp-Session-Id", began.id).text)
	}
	seen := make(map[string]bool)
	for range 4 {
		seen[send(t, http.MethodPost, a+"/mcp", "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list").text] = true
	}
	assert.Equal(t, map[string]bool{"one": true, "two": true}, seen, "the modern era has no session")
	requireRefusals(t, a+"/mcp", "Mcp-Session-Id", http.MethodGet)

	requireOutage(t, redis, a+"/mcp", began.id)
	assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, a+"/mcp", "Mcp-Session-Id", "unknown").status)
	assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, a+"/mcp").status, "nothing is begun")
	assert.NotContains(t, first.stop(), "panic")
}

func TestSessionsOfReadmeRun(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	b := readme(t)[1]
	b.code += `
func main() {
	client := redis.NewClient(&redis.Options{
		Addr: "localhost:6379", ContextTimeoutEnabled: true, DialerRetries: 1, DialTimeout: time.Second,
	})
	sessions := session.NewRoutingStorage(session.NewRedisStorage(client, 30*time.Minute), 10_000)
	log.Fatal(http.ListenAndServe("localhost:8080", api(sessions)))
}
`
	program := start(t, build(t, b, nil), map[string]string{"6379": redis.Addr()})
	url := program.url

	began := send(t, http.MethodPost, url+"/begin")
	require.Equal(t, http.StatusOK, began.status)
	id := began.header.Get("X-Session")
	require.NotEmpty(t, id)
	hit := send(t, http.MethodPost, url+"/", "X-Session", id)
	assert.Equal(t, http.StatusOK, hit.status)
	assert.Equal(t, "http://10.0.0.7:8080\n", hit.text)
	requireRefusals(t, url+"/", "X-Session", http.MethodPost)

	redis.Close()
	assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, url+"/", "X-Session", "unknown").status)
	assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, url+"/begin").status)
	assert.Equal(t, http.StatusBadRequest, send(t, http.MethodPost, url+"/").status)
	assert.NotContains(t, program.stop(), "panic")
}

// requireRefusals sends what users meet first: no id, one that is none, and one of a session that is over.
func requireRefusals(t *testing.T, url, header, without string) {
	assert.Equal(t, http.StatusBadRequest, send(t, without, url).status, "no id")
	assert.Equal(t, http.StatusBadRequest, send(t, http.MethodPost, url, header, "not an id").status)
	assert.Equal(t, http.StatusNotFound, send(t, http.MethodPost, url, header, "unknown").status)
}
