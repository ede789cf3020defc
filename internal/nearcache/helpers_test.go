package nearcache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	testID    = "3DQ7JZ2N5W"
	ttl       = 10 * time.Minute
	staleness = 2 * time.Second
	freshness = time.Minute // RefreshAfter
)

// replica is a cache that is used as a storage uses it.
type replica struct {
	*Cache[state]
	source *source
}

type setting func(s *source, config *Config[state])

func watched(s *source, config *Config[state]) { config.Watch = s.watch }

func revalidating(s *source, config *Config[state]) { config.Unchanged = s.unchanged }

func maxEntries(n int) setting {
	return func(_ *source, config *Config[state]) { config.MaxEntries = n }
}

func refreshConcurrency(n int) setting {
	return func(_ *source, config *Config[state]) { config.RefreshConcurrency = n }
}

func loadConcurrency(n int) setting {
	return func(_ *source, config *Config[state]) { config.LoadConcurrency = n }
}

func refreshAfter(d time.Duration) setting {
	return func(_ *source, config *Config[state]) { config.RefreshAfter = d }
}

func maxBytes(n int64) setting {
	return func(_ *source, config *Config[state]) { config.MaxBytes = n }
}

func maxAbsent(n int) setting {
	return func(_ *source, config *Config[state]) { config.MaxAbsent = n }
}

func loadTimeout(d time.Duration) setting {
	return func(_ *source, config *Config[state]) { config.LoadTimeout = d }
}

func leaseOnly(_ *source, config *Config[state]) { config.LeaseOnly = true }

func staleIfError(d time.Duration) setting {
	return func(_ *source, config *Config[state]) { config.StaleIfError = d }
}

func sourceTTL(d time.Duration) setting {
	return func(s *source, config *Config[state]) { s.ttl, config.TTL = d, d }
}

func newReplica(s *source, settings ...setting) *replica {
	config := Config[state]{
		MaxEntries: 100, TTL: ttl, MaxStaleness: staleness, LoadTimeout: 2 * time.Second,
		RefreshAfter: freshness, RefreshConcurrency: 16, LoadConcurrency: 100,
		Load: s.load, Current: current,
		ExpiresAt:   func(*state) time.Time { return time.Time{} },
		Idle:        func(s *state) time.Duration { return s.idle },
		ID:          func(s *state) string { return s.id },
		Size:        func(s *state) int { return len(s.v) },
		Unavailable: func(err error) bool { return !errors.Is(err, errAbsent) },
		Absent:      func(err error) bool { return errors.Is(err, errAbsent) },
	}
	for _, set := range settings {
		set(s, &config)
	}
	return &replica{New(config), s}
}

// inBubble runs a test of a cache in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, src *source, c *replica), settings ...setting) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		c := newReplica(src, settings...)
		defer c.Close()
		defer src.releaseAll()
		test(t, src, c)
	})
}

// outcome is what a load returned.
type outcome struct {
	v   string
	err error
}

func (c *replica) load(ctx context.Context, id string) outcome {
	s := c.Hit(id)
	if s == nil {
		var err error
		if s, err = c.Fetch(ctx, id); err != nil {
			return outcome{err: err}
		}
	}
	return outcome{v: s.v}
}

// loadLater loads testID in the background. In a bubble, synctest.Wait lets it get as far as it can.
func (c *replica) loadLater(ctx context.Context) <-chan outcome {
	done := make(chan outcome, 1)
	go func() { done <- c.load(ctx, testID) }()
	return done
}

// get loads testID, which has to succeed.
func (c *replica) get(t *testing.T) string {
	t.Helper()
	return c.getID(t, testID)
}

func (c *replica) getID(t *testing.T, id string) string {
	t.Helper()
	o := c.load(t.Context(), id)
	require.NoError(t, o.err)
	return o.v
}

// err loads testID, and returns the error.
func (c *replica) err(t *testing.T) error {
	t.Helper()
	return c.load(t.Context(), testID).err
}

func (c *replica) store(ctx context.Context, id, v string) error {
	w, err := c.Begin(id)
	if err != nil {
		return err
	}
	defer w.Gone()
	if err := c.source.pass(ctx, "store", "request"); err != nil {
		return err
	}
	revision := c.source.put(id, v)
	if err := c.source.pass(ctx, "store", "reply"); err != nil {
		return err
	}
	w.Acknowledged(newState(id, v, revision), revision)
	return nil
}

func (c *replica) remove(ctx context.Context, id string) error {
	w, err := c.Begin(id)
	if err != nil {
		return err
	}
	w.Drop()
	defer w.Gone()
	if err := c.source.pass(ctx, "remove", "request"); err != nil {
		return err
	}
	c.source.drop(id)
	return c.source.pass(ctx, "remove", "reply")
}

func (c *replica) storeLater(ctx context.Context, v string) <-chan error {
	return later(func() error { return c.store(ctx, testID, v) })
}

func (c *replica) removeLater(ctx context.Context) <-chan error {
	return later(func() error { return c.remove(ctx, testID) })
}

func later(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func numbered(i int) string { return fmt.Sprint("id-", i) }

// storeAll stores n values, which are due at the same time.
func (c *replica) storeAll(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, c.store(t.Context(), numbered(i), "old"))
	}
}

// hitAll loads the first n of these values, and expects hits.
func (c *replica) hitAll(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		require.NotNil(t, c.Hit(numbered(i)))
	}
}

func (c *replica) workers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refresh.workers
}

// flow reports a Gap, and from then on proofs as often as a heartbeat, until stopped.
func (s *source) flow(c *replica) (stop func()) {
	s.report(gap)
	return s.prove(c)
}

// prove reports proofs as often as a heartbeat, until stopped.
func (s *source) prove(c *replica) (stop func()) {
	ctx, cancel := context.WithCancel(c.closing)
	s.report(alive(time.Now()))
	go func() {
		for {
			select {
			case <-time.After(staleness / 4):
			case <-ctx.Done():
				return
			}
			select {
			case s.events <- alive(time.Now()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}
