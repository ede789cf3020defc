package mcphttp

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestDecodedHeaders(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                                    "",
		"us-west1":                            "us-west1",
		"x://ü":                               "x://ü",
		"=?base64?w7w=?=":                     "ü",
		"=?base64??=":                         "",
		"=?base64?":                           "=?base64?",
		"=?BASE64?w7w=?=":                     "=?BASE64?w7w=?=",
		"=?base64?!?=":                        "invalid",
		"=?base64?w7w?=":                      "invalid",
		"=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=": "=?base64?literal?=",
	} {
		got, ok := decoded(header)
		require.Equal(t, want != "invalid", ok, header)
		if ok {
			require.Equal(t, want, got, header)
		}
	}
}

func TestTaskOfARequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(" ", 1<<20)
	for _, c := range []struct{ method, name, body, want string }{
		{"tasks/get", "t", `{}`, "t"},
		{"tasks/get", "=?base64?w7w=?=", `{}`, "ü"},
		{"tasks/get", "t", `{"params":{"taskId":"u"}}`, "t"},
		{"tasks/get", "", `{"params":{"taskId":"t"}}`, "t"},
		{"tasks/get", "=?base64?!?=", `{"params":{"taskId":"t"}}`, "t"},
		{"tasks/get", "", `{"params":{"taskId":"\u0074"}}`, "t"},
		{"tasks/get", "", `{"params":{"taskid":"t"},"Params":{"taskId":"t"}}`, ""},
		{"tasks/get", "", `{"params":{"taskId":["t"]}}`, ""},
		{"tasks/get", "", `{"params":["taskId","t"]}`, ""},
		{"tasks/get", "", `{"taskId":"t"}`, ""},
		{"tasks/get", "", `{"params":{"taskId":"t"}`, ""},
		{"tasks/get", "", `{"params":{"taskId":"t"}}` + long, "t"},
		{"tasks/get", "", ``, ""},
		{"tools/call", "t", `{"params":{"taskId":"t"}}`, ""},
		{"", "t", `{"params":{"taskId":"t"}}`, ""},
		{listenMethod, "", `{"params":{"notifications":{"taskIds":["t","u"]}}}`, "t"},
		{listenMethod, "", `{"params":{"notifications":{"taskIds":[]}}}`, ""},
		{listenMethod, "", `{"params":{"notifications":{"toolsListChanged":true}}}`, ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set(methodHeader, c.method)
		r.Header.Set(nameHeader, c.name)
		require.Equal(t, c.want, taskOf(r, []byte(c.body)), "%+v", c)
	}
}

func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, kind := range []string{taskKind, callerKind, "Mcp-Param-A"} {
		for _, owner := range []string{"", "a", "ab"} {
			for _, value := range []string{"", "a", "b", "ba"} {
				id := keyID(kind, owner, value)
				require.False(t, seen[id])
				require.NoError(t, session.ValidateID(id))
				seen[id] = true
			}
		}
	}
}

func TestKeyIsNoSession(t *testing.T) {
	t.Parallel()
	_, proxy := startProxy(t, startStorage(), startPeers(t, 1))
	call(t, proxy, callMethod, `{"task":"t"}`)
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		got := send(t, method, proxy, "", sessionHeader, keyID(taskKind, "", "t"))
		require.Equal(t, http.StatusNotFound, got.status)
	}
	_, result := call(t, proxy, "tasks/get", `{"taskId":"t"}`)
	require.Equal(t, "a", result["server"], "and it is still there")
}

func TestParametersAreRouted(t *testing.T) {
	t.Parallel()
	st, peers := startStorage(), startPeers(t, 3)
	_, one := startProxy(t, st, peers, WithParamKey("region"), WithParamKey("Zone"))
	_, two := startProxy(t, st, peers, WithParamKey("region"), WithParamKey("Zone"))
	to := make(map[any]bool)
	for _, region := range []string{"ü", "us west"} {
		_, result := call(t, one, callMethod, `{}`, "Mcp-Param-Region", region)
		to[result["server"]] = true
		encoded := map[string]string{"ü": "=?base64?w7w=?=", "us west": "=?base64?dXMgd2VzdA==?="}[region]
		for _, value := range []string{region, encoded} {
			for range 4 {
				_, again := call(t, two, "resources/read", `{}`, "Mcp-Param-Region", value, "Mcp-Param-Zone", "z")
				require.Equal(t, result["server"], again["server"])
			}
		}
	}
	require.Len(t, to, 2)

	zone := make(map[any]bool)
	undecodable := make(map[any]bool)
	legacy := make(map[any]bool)
	for range 6 {
		_, result := call(t, one, callMethod, `{}`, "Mcp-Param-Zone", "z")
		zone[result["server"]] = true
		_, result = call(t, one, callMethod, `{}`, "Mcp-Param-Region", "=?base64?!?=")
		undecodable[result["server"]] = true
		_, name := begin(t, one, "Mcp-Param-Region", "ü")
		legacy[name] = true
	}
	require.Len(t, zone, 1)
	require.Len(t, undecodable, 3)
	require.Len(t, legacy, 3, "its header is checked by no server")
}

func TestCallersKeysAreRouted(t *testing.T) {
	t.Parallel()
	byWorkspace := WithKey(func(r *http.Request) (string, bool) {
		workspace := r.Header.Get("Workspace")
		return workspace, workspace != ""
	})
	st, peers := startStorage(), startPeers(t, 3)
	_, one := startProxy(t, st, peers, byWorkspace)
	_, two := startProxy(t, st, peers, byWorkspace)
	for _, workspace := range []string{"x", "y", "z"} {
		_, result := call(t, one, callMethod, `{}`, "Workspace", workspace)
		for range 4 {
			_, again := call(t, two, callMethod, `{}`, "Workspace", workspace)
			require.Equal(t, result["server"], again["server"])
			_, name := begin(t, two, "Workspace", workspace)
			require.Equal(t, result["server"], name)
		}
	}
}

func TestFirstRequestsOfAKeyAgree(t *testing.T) {
	key := WithKey(func(*http.Request) (string, bool) { return "all", true })
	st, peers := startStorage(), startPeers(t, 3)
	var replicas []string
	for range 3 {
		_, proxy := startProxy(t, st, peers, key)
		replicas = append(replicas, proxy)
	}
	names := make([]any, 30)
	t.Run("all", func(t *testing.T) {
		for i := range names {
			t.Run("one", func(t *testing.T) {
				t.Parallel()
				_, result := call(t, replicas[i%3], callMethod, `{}`)
				names[i] = result["server"]
			})
		}
	})
	for _, name := range names {
		require.Equal(t, names[0], name)
	}
}
