package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// journal is a replica's log, kept for the report: one line for each entry, and one more for its attributes.
type journal struct {
	mu      sync.Mutex // guards entries
	entries []string
}

var _ slog.Handler = (*journal)(nil)

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	var attributes []string
	r.Attrs(func(a slog.Attr) bool {
		attributes = append(attributes, a.String())
		return true
	})
	entry := r.Level.String() + " " + r.Message
	if len(attributes) > 0 {
		entry += "\n" + strings.Join(attributes, " ")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
	return nil
}

// The storage uses neither of these.

func (j *journal) WithAttrs([]slog.Attr) slog.Handler { return j }

func (j *journal) WithGroup(string) slog.Handler { return j }

// since returns the entries after the first n.
func (j *journal) since(n int) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries[n:])
}
