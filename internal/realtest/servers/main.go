// Servers runs the tests that need a real server with each redis-server and valkey-server under a folder, one after the
// other. It writes a report of which version passed what, and fails when a test fails:
//
//	go run ./internal/realtest/servers <folder>
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	path := flag.String("report", "docs/servers.md", "the file to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *path, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, path string, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return errors.New("name the one folder with the servers: SERVERS=<folder> task servers")
	}
	servers, err := find(args[0])
	if err != nil {
		return err
	}
	packages, err := packagesWithServers(ctx)
	if err != nil {
		return err
	}
	r := report{packages: packages}
	for _, s := range servers {
		began := time.Now()
		results, err := test(ctx, s, packages)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		r.add(s, results)
		fmt.Fprintf(os.Stderr, "%s: %s, %s\n", s, results, time.Since(began).Round(time.Second))
	}
	if err := os.WriteFile(path, []byte(r.String()), 0o644); err != nil {
		return err
	}
	if n := r.failures(); n > 0 {
		return fmt.Errorf("%d tests failed, see %s", n, path)
	}
	return nil
}
