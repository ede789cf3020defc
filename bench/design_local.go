package main

import (
	"context"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/seed34611480/session"
)

// These know nothing of Redis, staleness or expiry: a local tier could be built on them.

func openLRU(_ context.Context, e env) (*opened, error) {
	local, err := lru.New[string, *session.Session](localEntries)
	if err != nil {
		return nil, err
	}
	for i, id := range e.keys.ids {
		local.Add(id, e.keys.sessions[i])
	}
	return inMemory(func() loader {
		checker, ids := e.keys.checker(), e.keys.ids
		return func(i int) error {
			s, _ := local.Get(ids[i])
			return checker.check(i, s)
		}
	}), nil
}

func openOtter(_ context.Context, e env) (*opened, error) {
	local, err := otter.New(&otter.Options[string, *session.Session]{MaximumSize: localEntries})
	if err != nil {
		return nil, err
	}
	for i, id := range e.keys.ids {
		local.Set(id, e.keys.sessions[i])
	}
	return inMemory(func() loader {
		checker, ids := e.keys.checker(), e.keys.ids
		return func(i int) error {
			s, _ := local.GetIfPresent(ids[i])
			return checker.check(i, s)
		}
	}), nil
}

func openClock(_ context.Context, e env) (*opened, error) {
	start := time.Now()
	return inMemory(func() loader {
		checker, sessions := e.keys.checker(), e.keys.sessions
		return func(i int) error {
			if time.Since(start) < 0 {
				return errWrong
			}
			return checker.check(i, sessions[i])
		}
	}), nil
}

func openNothing(_ context.Context, e env) (*opened, error) {
	return inMemory(func() loader {
		checker, sessions := e.keys.checker(), e.keys.sessions
		return func(i int) error { return checker.check(i, sessions[i]) }
	}), nil
}

func inMemory(loader func() loader) *opened { return &opened{loader: loader, close: func() {}} }

func quiet() session.RoutingOption { return session.WithLogger(slog.New(slog.DiscardHandler)) }
