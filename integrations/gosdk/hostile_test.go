package gosdk

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/requeststate"
)

// A panic in a method ends the process: go-sdk calls them on goroutines of its own.
func TestHostileMessagesEndNothing(t *testing.T) {
	t.Parallel()
	st := session.NewMemoryStorage(time.Hour)
	server := newTaskServer(t, st)
	server.AddReceivingMiddleware(RequestState(requeststate.NewStored(st)))
	web := httptest.NewServer(bothEras(t, server))
	defer web.Close()

	c := taskClient{raw: raw{t: t, url: web.URL, token: alice}}
	asking := c.call("wizard", map[string]any{"service": "s"})
	require.NotEmpty(t, asking.reply.Result.RequestState, asking.body)
	asked := c.send("tools/call", repeated(map[string]any{"name": "wizard", "arguments": map[string]any{"service": "s"}},
		asking.reply.Result.RequestState, "x"))
	require.NotEmpty(t, asked.Result.TaskID, asked.body)
	waiting := c.await(asked.Result.TaskID, taskWorking)
	require.Equal(t, taskInputRequired, waiting.Result.Status)
	key := ""
	for k := range waiting.Result.InputRequests {
		key = k
	}

	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}`
	long := strings.Repeat("x", 1<<16)
	deep := strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000)
	for _, method := range []string{
		methodGetTask, methodUpdateTask, methodCancelTask, "tools/call", "prompts/get", "resources/read", "server/discover",
		"tasks/list", "tasks/result", "",
	} {
		for i, params := range []string{
			``, `,"params":null`, `,"params":[]`, `,"params":"x"`, `,"params":7`, `,"params":{}`, `,"params":{"_meta":null}`,
			`,"params":{"_meta":[]}`, `,"params":{` + meta + `}`,
			`,"params":{` + meta + `,"taskId":null}`, `,"params":{` + meta + `,"taskId":["x"]}`,
			`,"params":{` + meta + `,"taskId":"` + long + `"}`, `,"params":{` + meta + `,"taskId":"\u0000\ud800"}`,
			`,"params":{` + meta + `,"taskId":"x","name":null,"uri":null,"inputResponses":null}`,
			`,"params":{` + meta + `,"taskId":"x","name":"wizard","uri":"x","inputResponses":[]}`,
			`,"params":{` + meta + `,"name":"wizard","arguments":` + deep + `,"requestState":"x"}`,
			`,"params":{` + meta + `,"name":"wizard","arguments":null,"requestState":"` + long + `"}`,
			`,"params":{` + meta + `,"name":"long","arguments":null,"inputResponses":{"":null}}`,
			`,"params":{` + strings.Replace(meta, `{"io.modelcontextprotocol/tasks":{}}`, `[]`, 1) + `,"name":"long"}`,
			`,"params":{` + strings.Replace(meta, `"2026-07-28"`, `7`, 1) + `,"name":"long"}`,
			fmt.Sprintf(`,"params":{%s,"taskId":%q,"inputResponses":{%q:null}}`, meta, asked.Result.TaskID, key),
			fmt.Sprintf(`,"params":{%s,"taskId":%q,"inputResponses":{%q:%s}}`, meta, asked.Result.TaskID, key, deep),
			fmt.Sprintf(`,"params":{%s,"taskId":%q,"inputResponses":{"":7,"x":[]}}`, meta, asked.Result.TaskID),
		} {
			if method == methodCancelTask && i >= 20 {
				continue // the task is still needed
			}
			for _, id := range []string{`,"id":1`, ``} {
				body := fmt.Sprintf(`{"jsonrpc":"2.0"%s,"method":%q%s}`, id, method, params)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, bytes.NewBufferString(body))
				require.NoError(t, err)
				r.Header = http.Header{
					"Authorization": {"Bearer " + alice}, "Content-Type": {"application/json"},
					"Accept":     {"application/json, text/event-stream"},
					"Mcp-Method": {method}, "Mcp-Protocol-Version": {modern},
				}
				resp, err := http.DefaultClient.Do(r)
				require.NoError(t, err, body[:min(len(body), 300)])
				answer, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Less(t, resp.StatusCode, 500, "%s: %s", body[:min(len(body), 300)], answer)
			}
		}
	}
	require.Equal(t, taskInputRequired, c.get(asked.Result.TaskID).Result.Status, "nothing of it was an answer")
	require.Nil(t, c.answer(asked.Result.TaskID, key, "y").Error)
}
