package mcphttp

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// side answers with its name and the body that it has read.
func side(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Side", name)
		_, _ = io.Copy(w, r.Body)
	})
}

func requestWith(method string, header http.Header, body string) *http.Request {
	r := httptest.NewRequest(method, "/mcp", strings.NewReader(body))
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r
}

func answerOf(handler http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// The headers are those that real clients were seen to send. Module internal/mcptest has the clients themselves.
func TestEraOfEachRequest(t *testing.T) {
	const modern, legacy = "modern", "legacy"
	for name, c := range map[string]struct {
		method string
		header string // Name: value, one a line
		side   string
	}{
		"go-sdk and mcp-go, discover": {"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: server/discover", modern},
		"go-sdk, listen": {
			"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: subscriptions/listen", modern,
		},
		"go-sdk and mcp-go, call": {
			"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: add\nMcp-Param-Region: eu", modern,
		},
		"go-sdk, task":         {"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: tasks/get", modern},
		"go-sdk, cancelled":    {"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: notifications/cancelled", modern},
		"legacy initialize":    {"POST", "", legacy},
		"legacy GET":           {"GET", "Mcp-Protocol-Version: 2025-11-25\nMcp-Session-Id: a", legacy},
		"legacy call":          {"POST", "Mcp-Protocol-Version: 2025-11-25\nMcp-Session-Id: a", legacy},
		"legacy DELETE":        {"DELETE", "Mcp-Protocol-Version: 2025-11-25\nMcp-Session-Id: a", legacy},
		"resumption":           {"GET", "Mcp-Session-Id: a\nLast-Event-Id: 7", legacy},
		"2025-03-26, no later": {"POST", "Mcp-Session-Id: a", legacy},
		"version forgotten":    {"POST", "Mcp-Method: tools/call", modern},
		"version is empty":     {"POST", "Mcp-Protocol-Version:\nMcp-Method: tools/call", modern},
		"modern body only":     {"POST", "", legacy},
		"initialize of today":  {"POST", "Mcp-Protocol-Version: 2026-07-28", modern},
		"stray session":        {"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Session-Id: a", modern},
		"method with session":  {"POST", "Mcp-Method: tools/call\nMcp-Session-Id: a", legacy},
		"method of legacy":     {"POST", "Mcp-Method: tools/call\nMcp-Protocol-Version: 2025-06-18", legacy},
		"later":                {"POST", "Mcp-Protocol-Version: 2027-01-01", modern},
		"no date":              {"POST", "Mcp-Protocol-Version: zzz", modern},
		"draft":                {"POST", "Mcp-Protocol-Version: DRAFT-2026-v1", modern},
		"older":                {"POST", "Mcp-Protocol-Version: 2024-11-05", legacy},
		"batch":                {"POST", "", legacy},
		"modern GET":           {"GET", "Mcp-Protocol-Version: 2026-07-28", modern},
		"modern DELETE":        {"DELETE", "Mcp-Protocol-Version: 2026-07-28", modern},
		"modern HEAD":          {"HEAD", "Mcp-Protocol-Version: 2026-07-28", modern},
		"HEAD":                 {"HEAD", "", legacy},
		"OPTIONS":              {"OPTIONS", "", legacy},
	} {
		t.Run(name, func(t *testing.T) {
			header := make(http.Header)
			for line := range strings.Lines(c.header) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				header.Add(name, strings.TrimSpace(value))
			}
			const text = "any body"
			answer := answerOf(Era(side(modern), side(legacy)), requestWith(c.method, header, text))
			require.Equal(t, c.side, answer.Header().Get("Side"))
			require.Equal(t, text, answer.Body.String())
		})
	}
}

func TestEraPassesTheRequestOnAsItIs(t *testing.T) {
	r := requestWith("POST", http.Header{"Mcp-Session-Id": {"a"}}, "x")
	var got *http.Request
	Era(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })).
		ServeHTTP(httptest.NewRecorder(), r)
	require.Same(t, r, got)
}

func TestRepeatedHeaders(t *testing.T) {
	unreached := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	sessions := NewSessions(session.NewMemoryStorage(time.Minute), unreached)
	repeated := []http.Header{{versionHeader: {"2025-11-25, 2026-07-28"}}, {versionHeader: {"2026-07-28,2026-07-28"}}}
	for _, name := range []string{versionHeader, sessionHeader, methodHeader, nameHeader} {
		for _, value := range []string{"2025-11-25", "2026-07-28", ""} {
			repeated = append(repeated, http.Header{name: {"2026-07-28", value}})
		}
	}
	for _, header := range repeated {
		for _, handler := range []http.Handler{Era(unreached, unreached), sessions} {
			answer := answerOf(handler, requestWith("POST", header, "{}"))
			require.Equal(t, http.StatusBadRequest, answer.Code, header)
		}
	}
}

func TestEraThatIsNotServed(t *testing.T) {
	modern := http.Header{versionHeader: {"2026-07-28"}}
	legacy := http.Header{versionHeader: {"2025-11-25"}, sessionHeader: {"a"}}
	for name, c := range map[string]struct {
		handler   http.Handler
		header    http.Header
		body      string
		id        string // JSON
		requested string
		supported string
	}{
		"modern": {
			Era(nil, side("")), modern, `{"jsonrpc":"2.0","id":7,"method":"server/discover"}`,
			"7", "2026-07-28", "2025-11-25 2025-06-18 2025-03-26",
		},
		"later": {
			Era(nil, side("")),
			http.Header{versionHeader: {`<">`}},
			`{"id":"x"}`,
			`"x"`, `<">`, "2025-11-25 2025-06-18 2025-03-26",
		},
		"legacy": {Era(side(""), nil), legacy, `{"id":1,"method":"tools/list"}`, "1", "2025-11-25", "2026-07-28"},
		"initialize": {
			Era(side(""), nil), nil, `{"id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`,
			"1", "2025-06-18", "2026-07-28",
		},
		"no version": {Era(side(""), nil), nil, `{"id":1}`, "1", "2025-03-26", "2026-07-28"},
		"batch":      {Era(side(""), nil), nil, `[{"id":1}]`, "null", "2025-03-26", "2026-07-28"},
		"no JSON":    {Era(side(""), nil), nil, `{"id":`, "null", "2025-03-26", "2026-07-28"},
		"notification": {
			Era(nil, side("")), modern, `{"method":"x"}`,
			"null", "2026-07-28", "2025-11-25 2025-06-18 2025-03-26",
		},
		"long": {
			Era(nil, side("")), modern, `{"id":1,"params":{"x":"` + strings.Repeat("x", maxAnswered) + `"}}`,
			"null", "2026-07-28", "2025-11-25 2025-06-18 2025-03-26",
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer := answerOf(c.handler, requestWith("POST", c.header, c.body))
			require.Equal(t, http.StatusBadRequest, answer.Code)
			require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
			var got refusal
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
			require.Contains(t, answer.Body.String(), `{"jsonrpc":"2.0","id":`)
			require.Contains(t, answer.Body.String(), `"error":{"code":-32022,"message":`)
			require.Contains(t, answer.Body.String(), `"data":{"supported":[`)
			require.Equal(t, "2.0", got.Version)
			require.Equal(t, c.id, string(got.ID))
			require.Equal(t, -32022, got.Error.Code)
			require.Equal(t, strings.Fields(c.supported), got.Error.Data.Supported)
			require.Equal(t, c.requested, got.Error.Data.Requested)
			for _, method := range []string{"GET", "DELETE", "HEAD"} {
				answer := answerOf(c.handler, requestWith(method, c.header, ""))
				require.Equal(t, http.StatusMethodNotAllowed, answer.Code)
				require.Equal(t, "POST", answer.Header().Get("Allow"))
			}
		})
	}
	require.Panics(t, func() { Era(nil, nil) })
}
