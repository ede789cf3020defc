package mcptest

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
	"github.com/seed34611480/session/internal/realtest"
	"github.com/seed34611480/session/mcphttp"
)

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	listening := httptest.NewServer(handler)
	t.Cleanup(listening.Close)
	return listening.URL
}

func TestClientsOfBothErasOnOneURL(t *testing.T) {
	for server, newServer := range newBackend {
		b := newServer(t)
		st := session.NewMemoryStorage(time.Minute)
		for name, handler := range map[string]http.Handler{
			"Sessions behind":   mcphttp.Era(b.modern, mcphttp.NewSessions(st, b.legacy)),
			"Sessions in front": mcphttp.NewSessions(st, mcphttp.Era(b.modern, b.legacy)),
		} {
			url := serve(t, handler)
			for client, connect := range connect {
				t.Run(server+", "+name+", "+client, func(t *testing.T) {
					c, err := connect(t.Context(), t, url)
					require.NoError(t, err)
					for range 3 {
						got, err := c.call(t.Context(), "hello")
						require.NoError(t, err)
						require.Equal(t, "hello", got)
					}
					legacy := strings.HasSuffix(client, "legacy")
					id := c.sessionID()
					require.Equal(t, legacy, id != "")
					if legacy {
						got, err := c.call(t.Context(), "ask")
						require.NoError(t, err)
						require.Equal(t, "accept", got)
						_, err = st.Load(t.Context(), id)
						require.NoError(t, err)
					}
					require.NoError(t, c.close())
					if legacy {
						realtest.Await(t, "the DELETE", func() bool {
							_, err := st.Load(t.Context(), id)
							return err != nil
						})
					}
				})
			}
		}
		realtest.Await(t, "the end of all sessions", func() bool { return b.sessions() == 0 })
	}
}

// Without Era's answer, mcp-go's client takes go-sdk's list of legacy versions for a modern server, and fails.
func TestClientsFallBack(t *testing.T) {
	for server, newServer := range newBackend {
		b := newServer(t)
		url := serve(t, mcphttp.Era(nil, mcphttp.NewSessions(session.NewMemoryStorage(time.Minute), b.legacy)))
		for client, connect := range connect {
			t.Run(server+", "+client, func(t *testing.T) {
				c, err := connect(t.Context(), t, url)
				require.NoError(t, err)
				require.NotEmpty(t, c.sessionID())
				got, err := c.call(t.Context(), "hello")
				require.NoError(t, err)
				require.Equal(t, "hello", got)
			})
		}
	}
}

func TestLegacyEraIsNotServed(t *testing.T) {
	for server, newServer := range newBackend {
		url := serve(t, mcphttp.Era(newServer(t).modern, nil))
		for client, connect := range connect {
			t.Run(server+", "+client, func(t *testing.T) {
				c, err := connect(t.Context(), t, url)
				if strings.HasSuffix(client, "legacy") {
					require.Error(t, err) // go-sdk's tells which version it is; mcp-go's takes any 4xx for an old server
					return
				}
				require.NoError(t, err)
				got, err := c.call(t.Context(), "hello")
				require.NoError(t, err)
				require.Equal(t, "hello", got)
			})
		}
	}
}

// What go-sdk answers to requests that no client should send, on the side that Era has chosen.
func TestOddRequests(t *testing.T) {
	const (
		meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
			`"io.modelcontextprotocol/clientCapabilities":{},` +
			`"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}`
		modern     = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + meta + `}}`
		initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",` +
			`"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	)
	b := newGoSDK(t)
	handler := mcphttp.Era(b.modern, mcphttp.NewSessions(session.NewMemoryStorage(time.Minute), b.legacy))
	for name, c := range map[string]struct {
		method, header, body string

		status int
		code   int // of a JSON-RPC error
	}{
		"modern":              {"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: tools/list", modern, 200, 0},
		"no version":          {"POST", "Mcp-Method: tools/list", modern, 400, -32020},
		"no headers":          {"POST", "", modern, 400, -32022},
		"initialize of today": {"POST", "Mcp-Protocol-Version: 2026-07-28", initialize, 400, -32602},
		"stray session": {
			"POST", "Mcp-Protocol-Version: 2026-07-28\nMcp-Method: tools/list\nMcp-Session-Id: a", modern, 200, 0,
		},
		"later":                 {"POST", "Mcp-Protocol-Version: 2027-01-01\nMcp-Method: tools/list", modern, 400, -32020},
		"no date":               {"POST", "Mcp-Protocol-Version: zzz\nMcp-Method: tools/list", modern, 400, -32020},
		"draft":                 {"POST", "Mcp-Protocol-Version: DRAFT-2026-v1\nMcp-Method: tools/list", modern, 400, -32020},
		"two in one":            {"POST", "Mcp-Protocol-Version: 2025-11-25, 2026-07-28", initialize, 400, 0},
		"batch":                 {"POST", "", "[" + initialize + "]", 200, 0},
		"batch of today":        {"POST", "Mcp-Protocol-Version: 2026-07-28", "[" + modern + "]", 400, 0},
		"modern GET":            {"GET", "Mcp-Protocol-Version: 2026-07-28", "", 405, 0},
		"modern DELETE":         {"DELETE", "Mcp-Protocol-Version: 2026-07-28", "", 405, 0},
		"modern HEAD":           {"HEAD", "Mcp-Protocol-Version: 2026-07-28", "", 405, 0},
		"HEAD":                  {"HEAD", "", "", 405, 0},
		"OPTIONS":               {"OPTIONS", "", "", 405, 0},
		"initialize":            {"POST", "", initialize, 200, 0},
		"initialize in unknown": {"POST", "Mcp-Session-Id: old", initialize, 404, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/", strings.NewReader(c.body))
			r.Header.Set("Accept", "application/json, text/event-stream")
			r.Header.Set("Content-Type", "application/json")
			for line := range strings.Lines(c.header) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				r.Header.Add(name, value)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			body, err := io.ReadAll(w.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, w.Code, string(body))
			if c.status == 405 {
				require.NotEmpty(t, w.Header().Get("Allow"))
			}
			var answer struct {
				Error struct {
					Code int `json:"code"`
				} `json:"error"`
			}
			_ = json.Unmarshal(body, &answer)
			require.Equal(t, c.code, answer.Error.Code, string(body))
		})
	}
}
