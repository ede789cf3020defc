package gosdk

import (
	"context"
	"io"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// connect returns a session with a client that is not there any more, for the request that a handler gets. It knows
// what the client has said of itself. What a handler sends through it, as its progress, goes nowhere: the extension has
// no way for that. Questions to the client fail, as they do everywhere since 2026-07-28.
func (t *Tasks) connect(r *run) (*mcp.ServerSession, error) {
	return t.server.Connect(r.ctx, &nowhere{closed: make(chan struct{})}, &mcp.ServerSessionOptions{
		State: &mcp.ServerSessionState{InitializeParams: r.client},
	})
}

// nowhere is a transport, and its one connection.
type nowhere struct {
	closed chan struct{}
	once   sync.Once
}

func (n *nowhere) Connect(context.Context) (mcp.Connection, error) { return n, nil }

func (n *nowhere) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case <-n.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *nowhere) Write(context.Context, jsonrpc.Message) error { return nil }

func (n *nowhere) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *nowhere) SessionID() string { return "" }
