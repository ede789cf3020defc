package doctest

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/realtest"
)

// TestGatewayOfDocsRuns uses the gateway of docs/mcp.md, with tokens that are names of users. A second replica starts
// when Redis is away.
func TestGatewayOfDocsRuns(t *testing.T) {
	t.Parallel()
	redis := miniredis.RunT(t)
	address := redis.Addr()
	one, two := backend(t, "one"), backend(t, "two")
	file := build(t, blocks(t, filepath.Join(root, "docs", "mcp.md"))[0], map[string]string{
		"nil, auth.ErrInvalidToken // yours": "&auth.TokenInfo{UserID: token, Expiration: time.Now().Add(time.Hour)}, nil",
		"time.Sleep(5 * time.Second)":        "time.Sleep(time.Millisecond)",
	})
	replica := func() (p *program, private string) {
		private = freeAddress(t)
		p = start(t, file, map[string]string{"6379": address, "8081": private, "9001": one, "9002": two})
		return p, "http://" + private
	}
	a, private := replica()
	const name, alice, bob = "Authorization", "Bearer alice", "Bearer bob"

	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, a.url+"/livez").status)
	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, a.url+"/readyz").status)
	assert.Equal(t, http.StatusUnauthorized, send(t, http.MethodPost, a.url+"/mcp").status)
	began := send(t, http.MethodPost, a.url+"/mcp", name, alice)
	require.Equal(t, http.StatusOK, began.status)
	assert.NotContains(t, began.text, "token", "backends do not get it")
	id := began.id
	assert.Equal(t, began.text, send(t, http.MethodPost, a.url+"/mcp", name, alice, "Mcp-Session-Id", id).text)
	assert.Equal(t, http.StatusNotFound, send(t, http.MethodPost, a.url+"/mcp", name, bob, "Mcp-Session-Id", id).status)
	modern := send(t, http.MethodPost, a.url+"/mcp", name, bob, "Mcp-Protocol-Version", "2026-07-28")
	assert.Equal(t, http.StatusOK, modern.status)
	assert.Contains(t, send(t, http.MethodGet, private+"/debug/vars").text, `"sessions": {"mode":`)
	assert.NotContains(t, send(t, http.MethodGet, private+"/debug/vars").text, id)

	redis.Close()
	late, _ := replica()
	assert.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodGet, late.url+"/readyz").status)
	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, a.url+"/readyz").status, "an outage takes no replica out")
	assert.Equal(t, http.StatusServiceUnavailable,
		send(t, http.MethodPost, late.url+"/mcp", name, alice, "Mcp-Session-Id", id).status)
	assert.Equal(t, http.StatusOK,
		send(t, http.MethodPost, late.url+"/mcp", name, alice, "Mcp-Protocol-Version", "2026-07-28").status)

	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	realtest.Await(t, "the end of the program", func() bool {
		select {
		case <-a.ended:
			return true
		case <-time.After(time.Millisecond):
			return false
		}
	})
	assert.Zero(t, a.cmd.ProcessState.ExitCode(), a.out.String())
}

// TestLogOutOfDocsWorks runs a test beside the code of docs/mcp.md that logs a user out.
func TestLogOutOfDocsWorks(t *testing.T) {
	t.Parallel()
	all := blocks(t, filepath.Join(root, "docs", "mcp.md"))
	at := slices.IndexFunc(all, func(b block) bool { return strings.Contains(b.code, "func logOut(") })
	require.GreaterOrEqual(t, at, 0)
	recipe := newSource(t, "logout", all[at])
	test := source{name: recipe.name, file: "main_test.go", text: read(t, filepath.Join("testdata", "logout_test.go"))}
	tool(t, recipe.module, []source{recipe, test}, "test", "-vet=off", "-timeout", "60s", "./...")
}
