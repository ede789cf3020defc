package mcptest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// mcp-go announces the tasks of the modern era as the protocol of 2025-11-25 did, and lets all ask for them who know
// their ids.
func TestTasksOfMCPGo(t *testing.T) {
	const user = "User"
	st := session.NewMemoryStorage(time.Minute)
	var backends []*url.URL
	for range 3 {
		backend, err := url.Parse(serve(t, newTaskServer()))
		require.NoError(t, err)
		backends = append(backends, backend)
	}
	p := mcphttp.NewProxy(st, backends, mcphttp.WithOwner(func(r *http.Request) (string, error) {
		return r.Header.Get(user), nil
	}))
	t.Cleanup(func() { require.NoError(t, p.Shutdown(context.Background())) })
	ask := func(name, method, params string) (int, map[string]any) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(fmt.Sprintf(
			`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
				`"io.modelcontextprotocol/clientCapabilities":{},`+
				`"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}`, method, params)))
		for header, value := range map[string]string{
			user: name, "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Content-Type": "application/json",
			"Accept": "application/json, text/event-stream",
		} {
			r.Header.Set(header, value)
		}
		if method == "tools/call" {
			r.Header.Set("Mcp-Name", "work")
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		var answer struct {
			Result map[string]any `json:"result"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
		return w.Code, answer.Result
	}
	for range backends {
		status, result := ask("ann", "tools/call", `"name":"work","arguments":{},"task":{}`)
		require.Equal(t, http.StatusOK, status)
		begun, _ := result["task"].(map[string]any)
		require.NotEmpty(t, begun["taskId"])
		params := fmt.Sprintf(`"taskId":%q`, begun["taskId"])
		for range backends {
			status, result = ask("ann", "tasks/get", params)
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, begun["taskId"], result["taskId"])
		}
		status, _ = ask("bob", "tasks/get", params)
		require.Equal(t, http.StatusNotFound, status)
	}
}

func newTaskServer() http.Handler {
	s := mcpgoserver.NewMCPServer("mcp-go", "1", mcpgoserver.WithTaskCapabilities(true, true, true))
	s.AddTool(mcpgo.NewTool("work", mcpgo.WithTaskSupport(mcpgo.TaskSupportOptional)),
		func(context.Context, mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return mcpgo.NewToolResultText("done"), nil
		})
	return mcpgoserver.NewStreamableHTTPServer(s)
}
