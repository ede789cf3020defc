package faults

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
	"github.com/seed34611480/session/internal/realtest"
)

// stalenessChecker checks the promise of WithMaxStaleness: a load that starts later than the bound after a Store or
// Delete has returned does not return older state. The check needs no tolerance, because it reads the clock after a
// write and before a load.
//
// A session has versions 1, 2, 3 and so on, and gone is the last one. One goroutine writes, any number of them load.
type stalenessChecker struct {
	bound  time.Duration
	writer session.Storage
	reader realtest.Loader

	mu          sync.Mutex // protects following fields
	histories   map[string]*history
	wrong       []string
	loads       int           // with an answer, which may be ErrNotFound
	unavailable int           // loads without one
	longest     time.Duration // the age of the oldest answer, from when a newer write returned
}

type history struct {
	newest int // the newest version that a write has sent
	writes []completedWrite
}

type completedWrite struct {
	version  int
	returned time.Time
}

const gone = math.MaxInt

func newStalenessChecker(bound time.Duration, writer session.Storage, reader realtest.Loader) *stalenessChecker {
	return &stalenessChecker{bound: bound, writer: writer, reader: reader, histories: make(map[string]*history)}
}

// store writes the next version.
func (c *stalenessChecker) store(ctx context.Context, id string) error {
	version := c.begin(id, 0)
	if err := c.writer.Store(ctx, session.New(id).With("version", strconv.Itoa(version))); err != nil {
		return err
	}
	c.end(id, version)
	return nil
}

func (c *stalenessChecker) remove(ctx context.Context, id string) error {
	c.begin(id, gone)
	if err := c.writer.Delete(ctx, id); err != nil {
		return err
	}
	c.end(id, gone)
	return nil
}

func (c *stalenessChecker) begin(id string, version int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.histories[id]
	if h == nil {
		h = new(history)
		c.histories[id] = h
	}
	if version == 0 {
		version = h.newest + 1
	}
	h.newest = version
	return version
}

func (c *stalenessChecker) end(id string, version int) {
	returned := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories[id].writes = append(c.histories[id].writes, completedWrite{version, returned})
}

// load checks one answer, and returns whether it is the current state.
func (c *stalenessChecker) load(ctx context.Context, id string) (current bool) {
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
		c.wrong = append(c.wrong, fmt.Sprintf("%s: %v", id, err))
		return false
	default:
		text, _ := s.Get("version")
		version, _ = strconv.Atoi(text)
	}
	c.loads++
	return c.checkLocked(id, start, version)
}

func (c *stalenessChecker) checkLocked(id string, start time.Time, version int) (current bool) {
	h := c.histories[id]
	if version > h.newest {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: version %d, which is not written yet", id, version))
		return false
	}
	newer := slices.IndexFunc(h.writes, func(w completedWrite) bool { return w.version > version })
	if newer < 0 {
		return true
	}
	age := start.Sub(h.writes[newer].returned)
	c.longest = max(c.longest, age)
	if age >= c.bound {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: version %d, %v after a newer write", id, version, age))
	}
	return false
}

// verify fails the test if there was a wrong answer.
func (c *stalenessChecker) verify(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d loads answered, %d unavailable, the oldest answer was %v old, the bound is %v",
		c.loads, c.unavailable, c.longest.Round(time.Millisecond), c.bound)
	require.Empty(t, c.wrong[:min(len(c.wrong), 5)], "%d wrong answers", len(c.wrong))
	require.Positive(t, c.loads)
}

func (c *stalenessChecker) countUnavailable() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unavailable
}

// The traffic changes one session all the time, and deletes the others one after the other.
const (
	changing    = "changing"
	endingCount = 200
	readers     = 4
)

func ending(i int) string { return fmt.Sprint("ending-", i) }

// prepare writes and loads all sessions. It returns when only a lease allows a replica to serve its copies.
func (c *stalenessChecker) prepare(ctx context.Context, t testing.TB) {
	t.Helper()
	ids := []string{changing}
	for i := range endingCount {
		ids = append(ids, ending(i))
	}
	for _, id := range ids {
		require.NoError(t, c.store(ctx, id))
		require.Eventually(t, func() bool { return c.load(ctx, id) }, realtest.Patience, time.Millisecond)
	}
	time.Sleep(c.bound)
}

// traffic writes and loads until it is stopped.
func (c *stalenessChecker) traffic(ctx context.Context, t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { c.write(ctx, t) })
	for range readers {
		running.Go(func() {
			for range ticks(ctx, time.Millisecond) {
				// Loads that have started when ctx ends get an answer like all others.
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

func (c *stalenessChecker) write(ctx context.Context, t testing.TB) {
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
