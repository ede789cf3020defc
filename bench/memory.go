package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed34611480/session"
)

// memoryRow is the cost of a full local tier.
type memoryRow struct {
	Entries int
	Name    string
	Heap    series // bytes per entry, with the session
	Fill    series // ns for all entries
	Cycle   series // ns that a garbage collection takes with this heap
	Pause   series // ns that it stops the program: the longer one of its two pauses
}

const (
	nameSessions = "the sessions alone, in a slice"
	nameLRUFull  = "golang-lru"
	nameOursFull = "this library, RoutingStorage"
)

// generator is a remote that has every session and answers at once.
type generator struct{ session.Storage }

func (generator) TTL() time.Duration { return time.Hour }

func (generator) Load(_ context.Context, id string) (*session.Session, error) {
	s := newSession(id)
	session.Stamp(s, 1)
	return s, nil
}

// tiers fill a local tier with a session for each id, and return a value that keeps it alive.
var tiers = []struct {
	name string
	fill func(ctx context.Context, ids []string) (keep any, done func(), err error)
}{
	{nameSessions, func(_ context.Context, ids []string) (any, func(), error) {
		sessions := make([]*session.Session, len(ids))
		for i, id := range ids {
			sessions[i] = newSession(id)
		}
		return sessions, func() {}, nil
	}},
	{nameLRUFull, func(_ context.Context, ids []string) (any, func(), error) {
		local, err := lru.New[string, *session.Session](len(ids))
		if err != nil {
			return nil, nil, err
		}
		for _, id := range ids {
			s := newSession(id)
			local.Add(s.ID(), s)
		}
		return local, func() {}, nil
	}},
	{nameOursFull, func(ctx context.Context, ids []string) (any, func(), error) {
		// Nothing expires while the tier is filled.
		r := session.NewRoutingStorage(generator{}, len(ids), session.WithMaxStaleness(time.Hour), quiet())
		for _, id := range ids {
			if _, err := r.Load(ctx, id); err != nil {
				return nil, nil, err
			}
		}
		if n := r.Stats().Entries; n != len(ids) {
			return nil, nil, fmt.Errorf("%d of %d entries are there", n, len(ids))
		}
		return r, func() { _ = r.Close() }, nil
	}},
}

func measureMemory(ctx context.Context, c config) ([]memoryRow, error) {
	var rows []memoryRow
	for _, n := range c.entries {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = session.NewID()
		}
		first := len(rows)
		for _, t := range tiers {
			rows = append(rows, memoryRow{Entries: n, Name: t.name})
		}
		for range c.rounds {
			for i, t := range tiers {
				if err := rows[first+i].measure(ctx, ids, t.fill); err != nil {
					return nil, fmt.Errorf("%s: %w", t.name, err)
				}
			}
		}
	}
	return rows, nil
}

func (m *memoryRow) measure(
	ctx context.Context, ids []string, fill func(context.Context, []string) (any, func(), error),
) error {
	before := liveHeap()
	start := time.Now()
	keep, done, err := fill(ctx, ids)
	if err != nil {
		return err
	}
	defer done()
	m.Fill = append(m.Fill, float64(time.Since(start)))
	m.Heap = append(m.Heap, float64(liveHeap()-before)/float64(len(ids)))

	start = time.Now()
	runtime.GC()
	m.Cycle = append(m.Cycle, float64(time.Since(start)))
	m.Pause = append(m.Pause, lastPause())
	runtime.KeepAlive(keep)
	return nil
}

// liveHeap collects twice: objects with a finalizer, or in a pool, survive the first time.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
}

func lastPause() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.PauseNs[(m.NumGC+255)%256])
}

// memory finds a row.
func (r *results) memory(entries int, name string) *memoryRow {
	i := slices.IndexFunc(r.Memory, func(m memoryRow) bool { return m.Entries == entries && m.Name == name })
	return &r.Memory[i]
}
