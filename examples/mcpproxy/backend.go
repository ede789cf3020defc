package main

import (
	"context"
	"net/http"
	"net/url"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// backend is an MCP server that keeps its sessions in memory. A request that reaches another backend does not find its
// session: that is why sessions need routing.
type backend struct {
	name   string
	url    *url.URL
	mcp    *mcp.Server
	server *http.Server

	mu    sync.Mutex // guards calls
	calls map[*mcp.ServerSession]int
}

// answer is the tool's result.
type answer struct {
	Backend string `json:"backend"`
	Count   int    `json:"count"   jsonschema:"number of calls that this session has made"`
}

func startBackend(ctx context.Context, name string) (*backend, error) {
	b := &backend{name: name, calls: make(map[*mcp.ServerSession]int)}
	b.mcp = mcp.NewServer(&mcp.Implementation{Name: "backend " + name, Version: "1"}, nil)
	mcp.AddTool(b.mcp, &mcp.Tool{Name: "count", Description: "Counts the calls of this session."}, b.count)

	handler := mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return b.mcp },
		&mcp.StreamableHTTPOptions{SessionTimeout: sessionTTL},
	)
	var err error
	b.server, b.url, err = serve(ctx, handler)
	return b, err
}

func (b *backend) count(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.calls[r.Session] + 1
	b.calls[r.Session] = n
	if n == 1 {
		go b.forget(r.Session)
	}
	return nil, answer{Backend: b.name, Count: n}, nil
}

// forget waits for the end of a session.
func (b *backend) forget(s *mcp.ServerSession) {
	_ = s.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.calls, s)
}

// announce sends a message to all sessions, outside any call: it travels on the event stream of each client.
func (b *backend) announce(ctx context.Context, round int) {
	for s := range b.mcp.Sessions() {
		// A client whose stream is broken misses this one. It opens a new stream soon.
		_ = s.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "round", Progress: float64(round)})
	}
}

func (b *backend) sessions() int {
	n := 0
	for range b.mcp.Sessions() {
		n++
	}
	return n
}

func (b *backend) stop() {
	_ = b.server.Close()
}
