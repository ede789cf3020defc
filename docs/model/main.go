// Model checks the models of the coherence protocol and of writes, see README.md. It needs Spin and gcc.
//
//	go run ./docs/model [-quick] [-steps] [-write] [part of a name]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"
)

func main() {
	var r runner
	quick := flag.Bool("quick", false, "run only the checks that take seconds")
	write := flag.Bool("write", false, "write what was found to docs/model/results.md")
	flag.BoolVar(&r.steps, "steps", false, "print the steps to a violation also where one is expected")
	flag.DurationVar(&r.limit, "limit", 30*time.Minute, "how long one search may take")
	flag.IntVar(&r.memory, "memory", 10_000, "how many MB one search may take")
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many checks run at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, r, *quick, *jobs, *write, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, r runner, quick bool, jobs int, write bool, part string) error {
	all, err := parse(table)
	if err != nil {
		return err
	}
	chosen := choose(all, quick, part)
	if len(chosen) == 0 {
		return errors.New("no check has such a name")
	}
	programs, err := versions(ctx)
	if err != nil {
		return err
	}
	if r.folder, err = os.MkdirTemp("", "model"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.folder) }()
	began := time.Now()
	results := runAll(ctx, r, chosen, jobs)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	took := time.Since(began)
	if write {
		if err := writeReport("docs/model/results.md", programs, all, results); err != nil {
			return err
		}
	}
	if n := failures(results); n > 0 {
		return fmt.Errorf("%d of %d checks have not found what is expected", n, len(results))
	}
	fmt.Fprintf(os.Stdout, "%d checks, all as expected, %v; %s\n", len(results), took.Round(time.Second), programs)
	return nil
}

// runAll runs the checks, prints the result of each when it has ended, and returns them in the order of the checks.
func runAll(ctx context.Context, r runner, chosen []check, jobs int) []result {
	results := make([]result, len(chosen))
	next := make(chan int)
	var printing sync.Mutex
	var workers sync.WaitGroup
	for range max(jobs, 1) {
		workers.Go(func() {
			for i := range next {
				results[i] = r.run(ctx, chosen[i])
				printing.Lock()
				fmt.Fprint(os.Stdout, results[i])
				printing.Unlock()
			}
		})
	}
	for i := range chosen {
		next <- i
	}
	close(next)
	workers.Wait()
	return results
}
