// Package demo holds what the programs for the different topologies share: everything except the client.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
)

// Main runs a program until it is done or interrupted, and exits with 1 if it fails.
func Main(run func(ctx context.Context, args []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	idleLifetime = 30 * time.Minute
	localEntries = 10_000
	loads        = 1000
	patience     = 10 * time.Second
)

// Show runs a session through its life, and prints what that cost. It leaves nothing behind in Redis.
func Show(ctx context.Context, client redis.UniversalClient, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sessions := session.NewRoutingStorage(session.NewRedisStorage(client, idleLifetime), localEntries)
	defer func() { _ = sessions.Close() }() // never fails

	s := session.New(session.NewID()).With("backend_url", "http://10.0.0.7:8080/mcp")
	if err := sessions.Store(ctx, s); err != nil {
		return err
	}
	if err := awaitEvents(ctx, sessions); err != nil {
		return err
	}
	for range loads {
		if _, err := sessions.Load(ctx, s.ID()); err != nil {
			return err
		}
	}
	if err := sessions.Delete(ctx, s.ID()); err != nil {
		return err
	}
	if _, err := sessions.Load(ctx, s.ID()); !errors.Is(err, session.ErrNotFound) {
		return fmt.Errorf("a deleted session was loaded, or the load failed: %w", err)
	}
	return printStats(out, sessions.Stats())
}

// awaitEvents is only for the demonstration. An application need not wait: until events flow, its loads ask Redis.
func awaitEvents(ctx context.Context, sessions *session.RoutingStorage) error {
	const interval = 10 * time.Millisecond
	for sessions.Stats().Mode != session.ModeLeased {
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return fmt.Errorf("no change events; the log says why: %w", ctx.Err())
		}
	}
	return nil
}

func printStats(out io.Writer, stats session.Stats) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		name  string
		value any
	}{
		{"mode", stats.Mode},
		{"last proof of freshness", stats.ProofAge.Round(time.Millisecond).String() + " ago"},
		{"loads answered locally", stats.Hits},
		{"loads that asked Redis", stats.Misses},
		{"refreshes in the background", stats.Refreshes},
		{"change events", stats.Events},
		{"gaps in the events", stats.Gaps},
		{"sessions held locally", stats.Entries},
	} {
		_, _ = fmt.Fprintf(table, "%s\t%v\n", row.name, row.value)
	}
	return table.Flush()
}
