package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// report prints events as they happen, and records the expectations that were not met.
type report struct {
	out    io.Writer
	step   int
	passed int
	failed []string
}

func (r *report) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

// headingf begins the next part.
func (r *report) headingf(format string, args ...any) {
	r.step++
	r.printf("\n%d. %s\n", r.step, fmt.Sprintf(format, args...))
}

// notef prints a line that is not an expectation.
func (r *report) notef(format string, args ...any) { r.printf("     "+format+"\n", args...) }

// expectf prints an expectation, and marks whether it is met.
func (r *report) expectf(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if ok {
		r.passed++
		r.printf("   ✓ %s\n", text)
		return
	}
	r.failed = append(r.failed, fmt.Sprintf("%d. %s", r.step, text))
	r.printf("   ✗ %s\n", text)
}

// noErrorf is the expectation that err is nil.
func (r *report) noErrorf(err error, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if err != nil {
		text += ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	r.expectf(err == nil, "%s", text)
}

// table shows what replicas did, and how much of it reached Redis.
func (r *report) table(loads []load) {
	const columns = "   %-18s %8s  %10s  %12s  %9s  %6s  %10s  %14s\n"
	r.printf(columns, "",
		"requests", "local hits", "remote loads", "refreshes", "writes", "heartbeats", "Redis commands")
	for _, l := range append(loads, total(loads)) {
		r.printf(columns, l.name, grouped(l.requests), grouped(l.hits), grouped(l.loads), grouped(l.refreshes),
			grouped(l.writes), grouped(l.heartbeats), grouped(l.commands()))
	}
	r.printf("\n")
}

// verdict ends the report.
func (r *report) verdict(took time.Duration) {
	if len(r.failed) == 0 {
		r.printf("\nAll %d expectations were met, in %.1f s.\n", r.passed, took.Seconds())
		return
	}
	r.printf("\n%d of %d expectations FAILED, in %.1f s:\n", len(r.failed), r.passed+len(r.failed), took.Seconds())
	for _, text := range r.failed {
		r.printf("   ✗ %s\n", text)
	}
}

// grouped formats a number with a comma between thousands.
func grouped[N int | uint64](n N) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// brief formats a duration for readers.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
