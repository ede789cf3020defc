// Model checks the models of the coherence protocol and of writes, see README.md. It needs Spin and gcc.
//
//	go run ./docs/model [-quick] [-steps] [-write] [regular expression of names]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
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

func run(ctx context.Context, r runner, quick bool, jobs int, write bool, pattern string) error {
	all, err := parse(table)
	if err != nil {
		return err
	}
	name, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	chosen := choose(all, quick, name)
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
	var mu sync.Mutex // one result at a time
	failures := 0
	err = runAll(ctx, r, chosen, jobs, func(res result) error {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprint(os.Stdout, res)
		if !res.expected() {
			failures++
		}
		if !write {
			return nil
		}
		return writeReport("docs/model/results.md", programs, all, res)
	})
	switch {
	case err != nil:
		return err
	case failures > 0:
		return fmt.Errorf("%d of %d checks have not found what is expected", failures, len(chosen))
	}
	took := time.Since(began).Round(time.Second)
	fmt.Fprintf(os.Stdout, "%d checks, all as expected, %v; %s\n", len(chosen), took, programs)
	return nil
}

// runAll runs the checks, as many at a time as there are jobs, and hands on each result when the check has ended.
func runAll(ctx context.Context, r runner, chosen []check, jobs int, done func(result) error) error {
	next := make(chan check)
	errs := make(chan error, max(jobs, 1))
	for range cap(errs) {
		go func() {
			var err error
			for c := range next {
				res := r.run(ctx, c)
				if err = errors.Join(err, ctx.Err()); err == nil {
					err = done(res)
				}
			}
			errs <- err
		}()
	}
	for _, c := range chosen {
		next <- c
	}
	close(next)
	var err error
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	return err
}
