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

	grace    = time.Second // for the answers that are open when a replica is stopped
	stopTime = 2 * grace   // for a replica to stop
)

// pace is how fast copies become stale. The defaults are 2 s and a minute.
type pace struct{ maxStaleness, refreshAfter time.Duration }

var (
	demoPace = pace{500 * time.Millisecond, time.Second} // so that the demo is short
	livePace = pace{2 * time.Second, 10 * time.Second}   // slow enough to watch
)

// heartbeat is how often a replica proves that it misses no event: fixed by the library.
func (p pace) heartbeat() time.Duration { return p.maxStaleness / 4 }

// replica is one proxy as it would be deployed: its own server, its own connections to Redis, its own local tier. The
// replicas of this demo share only the process.
type replica struct {
	*edge

	name     string
	url      *url.URL
	line     *line
	journal  *journal
	requests atomic.Uint64
	deletes  atomic.Uint64 // requests that end a session
	calls    calls         // of Redis, as the storage tells
	started  time.Time
	stopped  bool
}

func startReplica(ctx context.Context, name string, st *store, backends []*url.URL, at pace) (*replica, error) {
	r := &replica{name: name, line: st.line(), journal: new(journal), started: time.Now()}
	r.edge = newEdge(r.line.client, backends, slog.New(r.journal),
		session.WithMaxStaleness(at.maxStaleness), session.WithRefreshAfter(at.refreshAfter),
		session.WithRemoteHook(r.calls.hook))
	handler := orGuest(r.server.Handler)
	r.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		handler.ServeHTTP(w, req)
		if req.Method == http.MethodDelete {
			r.deletes.Add(1)
		}
	})
	var err error
	r.url, err = serve(ctx, r.server)
	return r, err
}

// leased reports whether the replica receives change events, so that its local sessions stay valid.
func (r *replica) leased() bool { return r.sessions.Stats().Mode == session.ModeLeased }

// stop ends a replica in the order in which a process should end.
func (r *replica) stop(ctx context.Context) error {
	r.stopped = true
	err := r.shutdown(ctx)
	_ = r.server.Close() // a client that does not read its answer would hold up Shutdown
	return err
}

// calls counts what a storage asks of Redis: one command each.
type calls struct{ loads, refreshes, writes atomic.Uint64 }

func (c *calls) hook(ctx context.Context, op string) (context.Context, func(error)) {
	switch op {
	case "load", "peek":
		c.loads.Add(1)
	case "revalidate":
		c.refreshes.Add(1)
	default:
		c.writes.Add(1)
	}
	return ctx, func(error) {}
}
