package main

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

const (
	sessionTTL   = 10 * time.Minute
	maxStaleness = 500 * time.Millisecond // short, to keep the demo short: the default is 2 s
	maxLocal     = 10_000
)

// replica is one proxy as it would be deployed: its own server, its own connections to Redis, its own local tier. The
// replicas of this demo share a process, and nothing else.
type replica struct {
	name     string
	url      *url.URL
	requests atomic.Uint64
	commands *commandCounter
	sessions *session.RoutingStorage

	redis     *redis.Client
	transport *http.Transport
	server    *http.Server
	stopped   bool
}

func startReplica(ctx context.Context, name string, st *store, backends []*url.URL) (*replica, error) {
	r := &replica{name: name, transport: newTransport()}
	r.redis, r.commands = st.client()
	remote := session.NewRedisStorage(r.redis, sessionTTL, session.WithKeyPrefix("mcpproxy-demo:"))
	r.sessions = session.NewRoutingStorage(remote, maxLocal, session.WithMaxStaleness(maxStaleness))

	closing := make(chan struct{})
	p := &proxy{sessions: r.sessions, backends: backends, transport: r.transport, closing: closing, log: quiet}
	var err error
	r.server, r.url, err = serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		p.ServeHTTP(w, req)
	}))
	if err != nil {
		return nil, err
	}
	r.server.RegisterOnShutdown(func() { close(closing) })
	return r, nil
}

// stop ends a replica as a process should end: calls are answered, streams are cut, and what was opened is closed in
// the reverse order.
func (r *replica) stop(ctx context.Context) error {
	r.stopped = true
	err := r.server.Shutdown(ctx)
	r.transport.CloseIdleConnections()
	_ = r.sessions.Close()
	_ = r.redis.Close()
	return err
}
