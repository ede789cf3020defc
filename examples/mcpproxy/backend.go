package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/integrations/gosdk"
)

// backend is an MCP server. It keeps its sessions and tasks in memory: a request that reaches another backend does not
// find them, which is why they need routing. Its baskets are in Redis, behind handles, so they need none.
type backend struct {
	name   string
	url    *url.URL
	mcp    *mcp.Server
	server *http.Server
	tasks  *gosdk.Tasks

	line     *line
	sessions *session.RoutingStorage // of the baskets
	baskets  *handle.Store[basket]

	mu    sync.Mutex // guards calls
	calls map[*mcp.ServerSession]int
}

func startBackend(ctx context.Context, name string, st *store) (*backend, error) {
	b := &backend{name: name, line: st.line(), calls: make(map[*mcp.ServerSession]int)}
	b.sessions = session.NewRoutingStorage(
		session.NewRedisStorage(b.line.client, sessionTTL,
			session.WithKeyPrefix(keyPrefix+"baskets:"), session.WithOwnerIndex()),
		maxLocal, session.WithMaxStaleness(demoPace.maxStaleness), session.WithFencing(),
		session.WithLogger(slog.New(slog.DiscardHandler)))
	b.baskets = handle.New[basket](b.sessions, "basket")

	b.mcp = mcp.NewServer(&mcp.Implementation{Name: "backend " + name, Version: "1"}, nil)
	b.tasks = gosdk.InstallTasks(b.mcp, session.NewMemoryStorage(sessionTTL),
		gosdk.WithTool("render"), gosdk.WithPollInterval(pollInterval))
	b.addTools()

	var err error
	b.server = &http.Server{Handler: bothEras(b.mcp), ReadHeaderTimeout: 5 * time.Second}
	b.url, err = serve(ctx, b.server)
	return b, err
}

// announce sends a message to all sessions, outside any call: it travels on the event stream of each client.
func (b *backend) announce(ctx context.Context, round int) {
	for s := range b.mcp.Sessions() {
		// A client whose stream is broken misses this one. It opens a new stream soon.
		_ = s.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: "round", Progress: float64(round)})
	}
}

func (b *backend) count() int {
	n := 0
	for range b.mcp.Sessions() {
		n++
	}
	return n
}

func (b *backend) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	for s := range b.mcp.Sessions() { // those whose clients did not end them
		_ = s.Close()
	}
	return errors.Join(b.tasks.Close(ctx), b.server.Close(), b.sessions.Close(), b.line.client.Close())
}
