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
//
// The session has that version, like the request that became the task. Its client may have begun with an older one, on
// the same pipe: then the SDK would send the questions in a handler's result to the client that is not there.
func (t *Tasks) connect(r *run) (*mcp.ServerSession, error) {
	var client mcp.InitializeParams
	if r.client != nil {
		client = *r.client
	}
	client.ProtocolVersion = max(client.ProtocolVersion, modern)
	return t.server.Connect(r.ctx, newNowhere(), &mcp.ServerSessionOptions{
		State: &mcp.ServerSessionState{InitializeParams: &client},
	})
}

// nowhere is a transport, and its one connection.
type nowhere struct {
	replies chan jsonrpc.Message
	closed  chan struct{}
	once    sync.Once
}

func newNowhere() *nowhere {
	return &nowhere{replies: make(chan jsonrpc.Message), closed: make(chan struct{})}
}

func (n *nowhere) Connect(context.Context) (mcp.Connection, error) { return n, nil }

func (n *nowhere) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case reply := <-n.replies:
		return reply, nil
	case <-n.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write answers a request as a client does that does not know the method. Without an answer, the SDK's pings would end
// the session (ServerOptions.KeepAlive), and notifications of the handler would fail from then on.
func (n *nowhere) Write(ctx context.Context, message jsonrpc.Message) error {
	request, ok := message.(*jsonrpc.Request)
	if !ok || !request.IsCall() {
		return nil
	}
	reply := &jsonrpc.Response{ID: request.ID, Error: &jsonrpc.Error{
		Code: jsonrpc.CodeMethodNotFound, Message: "the client of a task cannot be asked",
	}}
	select {
	case n.replies <- reply:
		return nil
	case <-n.closed:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *nowhere) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *nowhere) SessionID() string { return "" }
