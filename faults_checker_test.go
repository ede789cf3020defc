package session_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// staleness checks what WithMaxStaleness promises: a load that starts as much after a Store or Delete has returned does
// not answer with older state. There is no allowance for measuring, and none is needed: the instants that are noted
// here are later than the write, and earlier than the load.
//
// A session has versions 1, 2, 3 and so on, and gone is the last. One goroutine writes, any number load.
type staleness struct {
	bound  time.Duration
	writer session.Storage
	reader loader

	mu          sync.Mutex // protects following fields
	histories   map[string]*history
	violations  []string
	loads       int           // that were answered, also with ErrNotFound
	unavailable int           // loads that were not
	longest     time.Duration // age of an answer, counted from when a newer write had returned
}

type loader interface {
	Load(ctx context.Context, id string) (*session.Session, error)
}

type history struct {
	begun  int // the newest version that a write has begun with
	writes []write
}

type write struct {
	version  int
	returned time.Time
}

const gone = math.MaxInt

func newStaleness(bound time.Duration, writer session.Storage, reader loader) *staleness {
	return &staleness{bound: bound, writer: writer, reader: reader, histories: make(map[string]*history)}
}

// store writes the next version.
func (c *staleness) store(ctx context.Context, id string) error {
	version := c.begin(id, 0)
	if err := c.writer.Store(ctx, session.New(id).With("version", strconv.Itoa(version))); err != nil {
		return err
	}
	c.end(id, version)
	return nil
}

func (c *staleness) remove(ctx context.Context, id string) error {
	c.begin(id, gone)
	if err := c.writer.Delete(ctx, id); err != nil {
		return err
	}
	c.end(id, gone)
	return nil
}

func (c *staleness) begin(id string, version int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.histories[id]
	if h == nil {
		h = new(history)
		c.histories[id] = h
	}
	if version == 0 {
		version = h.begun + 1
	}
	h.begun = version
	return version
}

func (c *staleness) end(id string, version int) {
	returned := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories[id].writes = append(c.histories[id].writes, write{version, returned})
}

// load checks one answer, and reports whether it is the present state.
func (c *staleness) load(ctx context.Context, id string) (current bool) {
	start := time.Now()
	s, err := c.reader.Load(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	version := gone
	switch {
	case errors.Is(err, session.ErrUnavailable):
		c.unavailable++
		return false
	case errors.Is(err, session.ErrNotFound):
	case err != nil:
		c.violations = append(c.violations, fmt.Sprintf("%s: %v", id, err))
		return false
	default:
		text, _ := s.Get("version")
		version, _ = strconv.Atoi(text)
	}
	c.loads++
	return c.judgeLocked(id, start, version)
}

func (c *staleness) judgeLocked(id string, start time.Time, version int) (current bool) {
	h := c.histories[id]
	if version > h.begun {
		c.violations = append(c.violations, fmt.Sprintf("%s: version %d, which was not written yet", id, version))
		return false
	}
	newer := slices.IndexFunc(h.writes, func(w write) bool { return w.version > version })
	if newer < 0 {
		return true
	}
	age := start.Sub(h.writes[newer].returned)
	c.longest = max(c.longest, age)
	if age >= c.bound {
		c.violations = append(c.violations, fmt.Sprintf("%s: version %d, %v after a newer write", id, version, age))
	}
	return false
}

// verify fails the test if there was a wrong answer.
func (c *staleness) verify(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d loads answered, %d unavailable, the oldest answer was %v old, the bound is %v",
		c.loads, c.unavailable, c.longest.Round(time.Millisecond), c.bound)
	require.Empty(t, c.violations[:min(len(c.violations), 5)], "%d wrong answers", len(c.violations))
	require.Positive(t, c.loads)
}

func (c *staleness) countUnavailable() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unavailable
}

// The sessions of the traffic: one changes all the time, the others end one after the other.
const (
	changing    = "changing"
	endingCount = 200
	readers     = 4
)

func ending(i int) string { return fmt.Sprint("ending-", i) }

// prepare writes all sessions and loads them, and returns when nothing but the lease allows to serve what is cached.
func (c *staleness) prepare(ctx context.Context, t testing.TB) {
	t.Helper()
	ids := []string{changing}
	for i := range endingCount {
		ids = append(ids, ending(i))
	}
	for _, id := range ids {
		require.NoError(t, c.store(ctx, id))
		require.Eventually(t, func() bool { return c.load(ctx, id) }, patience, time.Millisecond)
	}
	time.Sleep(c.bound)
}

// traffic writes and loads until it is stopped.
func (c *staleness) traffic(ctx context.Context, t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { c.write(ctx, t) })
	for range readers {
		running.Go(func() {
			for range ticks(ctx, time.Millisecond) {
				// Not bound to ctx: what is under way at the end is answered like all others.
				c.load(context.WithoutCancel(ctx), changing)
				for range 4 {
					c.load(context.WithoutCancel(ctx), ending(rand.IntN(endingCount)))
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (c *staleness) write(ctx context.Context, t testing.TB) {
	const writesPerEnd = 5
	for i := range ticks(ctx, 4*time.Millisecond) {
		if !assert.NoError(t, c.store(context.WithoutCancel(ctx), changing)) {
			return
		}
		if end := i / writesPerEnd; i%writesPerEnd == 0 && end < endingCount {
			if !assert.NoError(t, c.remove(context.WithoutCancel(ctx), ending(end))) {
				return
			}
		}
	}
}

// ticks counts intervals until the context ends.
func ticks(ctx context.Context, interval time.Duration) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !yield(i) {
					return
				}
			}
		}
	}
}
