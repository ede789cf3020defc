package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session"
)

const (
	keyPrefix  = "mcpproxy-demo:"
	sessionTTL = 10 * time.Minute
	maxLocal   = 10_000

	// Short, so that the demo is short: the defaults are 2 s and a minute.
	maxStaleness = 500 * time.Millisecond
	refreshAfter = time.Second

	heartbeat = maxStaleness / 4 // fixed by the library

	grace    = time.Second // for the answers that are open when a replica is stopped
	stopTime = 2 * grace   // for a replica to stop
)

// replica is one proxy as it would be deployed: its own server, its own connections to Redis, its own local tier. The
// replicas of this demo share only the process.
type replica struct {
	name     string
	url      *url.URL
	requests atomic.Uint64
	line     *line
	sessions *session.RoutingStorage
	tally    *tally // counts writes to sessions; the proxy uses it as its storage
	journal  *journal

	transport *http.Transport
	server    *http.Server
	started   time.Time
	stopped   bool
}

func startReplica(ctx context.Context, name string, st *store, backends []*url.URL) (*replica, error) {
	r := &replica{name: name, line: st.line(), journal: new(journal), transport: newTransport(), started: time.Now()}
	remote := session.NewRedisStorage(r.line.client, sessionTTL, session.WithKeyPrefix(keyPrefix))
	r.sessions = session.NewRoutingStorage(remote, maxLocal, session.WithMaxStaleness(maxStaleness),
		session.WithRefreshAfter(refreshAfter), session.WithLogger(slog.New(r.journal)))
	r.tally = &tally{sessions: r.sessions}

	running, shutdown := context.WithCancel(context.WithoutCancel(ctx))
	p := &proxy{
		sessions: r.tally, backends: backends, transport: r.transport, log: quiet,
		keepAlive: sessionTTL / 4, running: running, grace: grace,
	}
	var err error
	r.server, r.url, err = serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		p.ServeHTTP(w, req)
	}))
	if err != nil {
		shutdown()
		return nil, err
	}
	r.server.RegisterOnShutdown(shutdown)
	return r, nil
}

// leased reports whether the replica receives change events, so that its local sessions stay valid.
func (r *replica) leased() bool { return r.sessions.Stats().Mode == session.ModeLeased }

// stop ends a replica in the order in which a process should end: streams end, calls are answered within the grace, and
// everything is closed in the reverse order of opening.
func (r *replica) stop(ctx context.Context) error {
	r.stopped = true
	err := r.server.Shutdown(ctx)
	_ = r.server.Close() // a client that does not read its answer would hold up Shutdown
	r.transport.CloseIdleConnections()
	_ = r.sessions.Close()
	_ = r.line.client.Close()
	return err
}
