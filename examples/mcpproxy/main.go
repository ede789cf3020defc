// Command mcpproxy shows the purpose of the session package: MCP servers that keep their sessions in memory, three
// proxy replicas in front of them that share only Redis, a balancer that knows nothing of MCP, and clients of both eras
// of the protocol that notice none of this. It reports what happens, and fails if an expectation is not met.
//
// It needs nothing installed: without a redis-server it has an embedded one.
//
// proxy.go is the part to copy.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

const patience = 4 * time.Second // for a single expectation to come true

var timeLimit = 15 * time.Second

func main() { os.Exit(command()) }

func command() int {
	redisURL := flag.String("redis", "", "use the Redis at this `URL` (redis://host:port/db) instead of the demo's own")
	keep := flag.Bool("serve", false, "keep running after the report, with a live page, and for your own client")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, os.Stdout, *redisURL, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mcpproxy:", err)
	}
	if err != nil || len(failed) > 0 {
		return 1
	}
	return 0
}

// run runs the demo, and returns the expectations that were not met.
func run(ctx context.Context, out io.Writer, redisURL string, keep bool) (failed []string, err error) {
	redis.SetLogger(&logging.VoidLogger{}) // it would log every connection that is broken on purpose
	start := time.Now()
	d, err := startDemo(ctx, redisURL, &report{out: out})
	if err != nil {
		return nil, err
	}
	defer d.stop(ctx)

	d.introduce()
	story, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done within %s", timeLimit))
	defer cancel()
	if err := d.tell(story); err != nil {
		d.noErrorf(err, "the demo runs to its end")
		keep = false
	}
	d.verdict(time.Since(start))
	if keep {
		err = d.keepRunning(ctx)
	}
	return d.failed, err
}

func (d *demo) introduce() {
	d.printf(`Three replicas of an MCP proxy share their sessions

   MCP clients --> balancer --> %d proxy replicas --> %d MCP servers
   (both eras)   (round robin)         |             (sessions and tasks in memory, baskets in Redis)
                                       |
                            Redis (%s): session or task -> server

   A replica answers from its own copy of a session for as long as change events reach it, which it verifies every
   %s. An outdated copy is used for no longer than %s (MaxStaleness, 2 s by default).
`, len(d.replicas), len(d.backends), d.store.name, brief(demoPace.heartbeat()), brief(demoPace.maxStaleness))
}

// keepRunning shows a live page, and prints how to try the proxies by hand, and at the end what all requests took.
func (d *demo) keepRunning(ctx context.Context) error {
	l, err := d.goLive(ctx)
	if err != nil {
		return err
	}
	defer l.stop()
	server, page, err := l.page(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	d.printf(`
See the replicas live, cut one off, and stop Redis:  %[2]s

Point an MCP client at  %[1]s  (Streamable HTTP), or paste this:

  URL=%[1]s
  mcp() { curl -sS "$URL" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' "$@"; }
  ID=$(mcp -o /dev/null -D - -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
    "capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}' | tr -d '\r' | sed -n 's/^Mcp-Session-Id: //p')
  for i in 1 2 3 4 5; do
    mcp -H "Mcp-Session-Id: $ID" -d '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"count"}}'
  done
  mcp -H "Mcp-Session-Id: $ID" -X DELETE
  mcp -H "Mcp-Session-Id: $ID" -X DELETE

The count continues although each call reaches another replica. Ctrl-C stops the demo and shows what all requests took.
`, d.balancer.url.JoinPath("mcp"), page)

	<-ctx.Done()
	d.printf("\n\n")
	d.table(loads(l.replicas))
	return nil
}
