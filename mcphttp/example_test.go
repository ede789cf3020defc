package mcphttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// Stand-ins for the handlers of an MCP library.
var (
	modernServer = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "modern") })
	legacyServer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case r.Header.Get("Mcp-Session-Id") == "":
			w.Header().Set("Mcp-Session-Id", session.NewID())
			fmt.Fprint(w, "begun")
		default:
			fmt.Fprint(w, "legacy")
		}
	})
)

func send(handler http.Handler, method string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/mcp", http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// Both eras of the protocol on one URL.
func ExampleEra() {
	handler := mcphttp.Era(modernServer, legacyServer)

	fmt.Println(send(handler, "POST", "MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list").Body)
	fmt.Println(send(handler, "POST", "MCP-Protocol-Version", "2025-11-25", "Mcp-Session-Id", "3f2c").Body)
	// Output:
	// modern
	// legacy
}

// A server of the legacy era only. It tells clients of today which versions they can go back to.
func ExampleEra_legacyOnly() {
	answer := send(mcphttp.Era(nil, legacyServer), "POST", "MCP-Protocol-Version", "2026-07-28")
	_, versions, _ := strings.Cut(answer.Body.String(), `"supported":`)
	fmt.Println(answer.Code, versions)
	// Output: 400 ["2025-11-25","2025-06-18","2025-03-26"],"requested":"2026-07-28"}}}
}

// The sessions of a server, in a storage that all replicas share.
func ExampleSessions() {
	storage := session.NewMemoryStorage(30 * time.Minute) // or one that all replicas share
	userOf := func(r *http.Request) (string, error) {
		// A middleware in front has verified the token, and put what it has found into the context.
		return session.Principal("https://issuer.example", r.Header.Get("X-Verified-Subject")), nil
	}
	handler := mcphttp.NewSessions(storage, legacyServer, mcphttp.WithOwner(userOf))

	began := send(handler, "POST", "X-Verified-Subject", "ann")
	id := began.Header().Get("Mcp-Session-Id")
	fmt.Println(began.Code, send(handler, "POST", "Mcp-Session-Id", id, "X-Verified-Subject", "ann").Code)
	fmt.Println("another user:", send(handler, "POST", "Mcp-Session-Id", id, "X-Verified-Subject", "bob").Code)

	_, _ = storage.Revoke(context.Background(), session.Principal("https://issuer.example", "ann")) // on any replica
	fmt.Println("logged out:", send(handler, "POST", "Mcp-Session-Id", id, "X-Verified-Subject", "ann").Code)
	// Output:
	// 200 200
	// another user: 404
	// logged out: 404
}

// A handler of one's own that uses sessions answers in a way that MCP clients understand.
func ExampleWriteError() {
	storage := session.NewMemoryStorage(30 * time.Minute)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := storage.Load(r.Context(), r.Header.Get("Mcp-Session-Id")); err != nil {
			mcphttp.WriteError(w, err)
			return
		}
		fmt.Fprint(w, "hello")
	})
	fmt.Println(send(handler, "POST").Code, send(handler, "POST", "Mcp-Session-Id", "unknown").Code)
	// Output: 400 404
}
