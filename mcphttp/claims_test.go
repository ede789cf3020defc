package mcphttp

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A user has begun a task of its own, and asks for another one's in all ways in which the proxy could be shown one task
// and the backend, which does not ask whose a task is, another.
func TestTasksOfOthersStayHidden(t *testing.T) {
	t.Parallel()
	owner := WithOwner(func(r *http.Request) (string, error) { return r.Header.Get("User"), nil })
	peers := startPeers(t, 1)
	_, proxy := startProxy(t, startStorage(), peers, owner)
	for user, task := range map[string]string{"ann": "anns", "bob": "bobs"} {
		_, result := call(t, proxy, callMethod, fmt.Sprintf(`{"task":%q}`, task), "User", user)
		require.Equal(t, task, result["taskId"])
	}
	const get = "tasks/get"
	var many []string
	for range maxClaimed + 1 {
		many = append(many, `"bobs"`)
	}
	for name, c := range map[string]struct {
		method, task, body string
		status             int
	}{
		"other header":     {get, "bobs", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 400},
		"encoded header":   {get, "=?base64?Ym9icw==?=", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 400},
		"no header":        {get, "", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 404},
		"long":             {get, "", `{"method":"tasks/get","params":{"taskId":"anns"}}` + strings.Repeat(" ", 1<<17), 404},
		"no method":        {"", "", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 400},
		"other method":     {"tools/list", "", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 400},
		"escaped method":   {"tools/list", "", `{"method":"t\u0061sks/get","params":{"taskId":"anns"}}`, 400},
		"a call":           {callMethod, "", `{"method":"tasks/get","params":{"taskId":"anns"}}`, 400},
		"hidden call":      {get, "bobs", `{"method":"tools/call","params":{"taskId":"bobs"}}`, 400},
		"repeated":         {get, "", `{"method":"tasks/get","params":{"taskId":"anns","taskId":"bobs"}}`, 400},
		"other case":       {get, "", `{"method":"tasks/get","params":{"taskId":"bobs","TASKID":"anns"}}`, 400},
		"only other case":  {get, "", `{"method":"tasks/get","params":{"taskid":"anns"}}`, 400},
		"folded":           {get, "", `{"method":"tasks/get","params":{"taskId":"bobs","ta\u017fkId":"anns"}}`, 400},
		"other params":     {get, "", `{"method":"tasks/get","params":{"taskId":"bobs"},"Params":{"taskId":"anns"}}`, 400},
		"repeated params":  {get, "", `{"method":"tasks/get","params":{"taskId":"anns"},"params":{"taskId":"bobs"}}`, 400},
		"repeated method":  {"tools/x", "", `{"method":"tasks/get","method":"tools/x","params":{"taskId":"anns"}}`, 400},
		"batch":            {"tools/list", "", `[{"method":"tasks/get","params":{"taskId":"anns"}}]`, 400},
		"trailing":         {"tools/list", "", `{"method":"tasks/get","params":{"taskId":"anns"}}{}`, 400},
		"broken":           {"tools/list", "", `{"method":"tasks/get","params":{"taskId":"anns"},}`, 400},
		"no task":          {"tasks/list", "", `{"method":"tasks/list"}`, 404},
		"no text":          {get, "", `{"method":"tasks/get","params":{"taskId":["anns"]}}`, 404},
		"listens":          {listenMethod, "", listens(`"anns"`), 404},
		"listens, too":     {listenMethod, "", listens(`"bobs","anns"`), 404},
		"listens to many":  {listenMethod, "", listens(many...), 400},
		"listens to texts": {listenMethod, "", listens(`{}`), 400},

		"its own":           {get, "bobs", `{"method":"tasks/get","params":{"taskId":"bobs"}}`, 200},
		"its own, encoded":  {get, "=?base64?Ym9icw==?=", `{"method":"tasks/get","params":{"taskId":"bobs"}}`, 200},
		"listens to its":    {listenMethod, "", listens(`"bobs"`), 200},
		"listens otherwise": {listenMethod, "", `{"method":"subscriptions/listen","params":{"notifications":{}}}`, 200},
		"no method at all":  {"", "", `{"jsonrpc":"2.0","result":{}}`, 200},
		"params elsewhere":  {"tools/list", "", `{"method":"tools/list","params":{"taskId":"anns","TaskId":"anns"}}`, 200},
	} {
		peers[0].forget()
		headers := []string{versionHeader, modernSince, "User", "bob"}
		if c.method != "" {
			headers = append(headers, methodHeader, c.method)
		}
		if c.task != "" {
			headers = append(headers, nameHeader, c.task)
		}
		got := send(t, http.MethodPost, proxy, c.body, headers...)
		require.Equal(t, c.status, got.status, "%s: %s", name, got.body)
		require.Equal(t, c.status == 200, peers[0].lastRequest() != nil, "%s: the backend", name)
		if c.status != 200 {
			require.Contains(t, got.body, `"code":-32`, name)
		}
	}
}

func listens(tasks ...string) string {
	return `{"method":"subscriptions/listen","params":{"notifications":{"taskIds":[` + strings.Join(tasks, ",") + `]}}}`
}

// A large response to what a task has asked goes where the task is.
func TestLargeUpdateIsRouted(t *testing.T) {
	t.Parallel()
	_, proxy := startProxy(t, startStorage(), startPeers(t, 3))
	_, result := call(t, proxy, callMethod, `{"task":"t"}`)
	require.Equal(t, "t", result["taskId"])
	for range 3 {
		_, result = call(t, proxy, "tasks/update",
			fmt.Sprintf(`{"inputResponses":{"x":%q},"taskId":"t"}`, strings.Repeat("x", 1<<17)))
		require.Equal(t, "a", result["server"])
	}
}
