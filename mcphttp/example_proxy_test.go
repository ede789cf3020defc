package mcphttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// Two replicas of a proxy share a storage, and each of them knows where a session is that the other has begun.
func ExampleProxy() {
	var backends []*url.URL
	for range 2 {
		server := httptest.NewServer(mcphttp.Era(modernServer, legacyServer))
		defer server.Close()
		address, err := url.Parse(server.URL)
		if err != nil {
			panic(err)
		}
		backends = append(backends, address)
	}
	sessions := session.NewMemoryStorage(30 * time.Minute) // in production a RoutingStorage in front of Redis
	one, two := mcphttp.NewProxy(sessions, backends), mcphttp.NewProxy(sessions, backends)

	began := send(one, http.MethodPost)
	fmt.Println(began.Body)
	id := began.Header().Get("Mcp-Session-Id")
	fmt.Println(send(two, http.MethodPost, "Mcp-Session-Id", id).Body)
	fmt.Println(send(two, http.MethodPost, "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list").Body)

	one.Drain(backends[0]) // it keeps what it has, and gets nothing new
	two.Drain(backends[0])

	for _, replica := range []*mcphttp.Proxy{one, two} {
		if err := replica.Shutdown(context.Background()); err != nil {
			panic(err)
		}
	}
	// Output:
	// begun
	// legacy
	// modern
}
