package realtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// Traffic loads, stores and deletes a few sessions through several replicas at once. It checks each answer against what
// package session promises, without tolerance. The check is exact while the servers keep every write that they
// acknowledged: a test that kills a master uses PauseWrites first.
type Traffic struct {
	replicas  []*session.RoutingStorage
	histories []*history
	staleness time.Duration

	writing sync.RWMutex // read-locked during each write
	running sync.WaitGroup

	loads, writes, failedLoads, failedWrites atomic.Uint64

	evicting atomic.Bool
	evicted  atomic.Uint64

	mu        sync.Mutex // protects following fields
	wrong     []string
	lastError time.Time
	oldest    time.Duration
}

// Counts is what Traffic has seen so far.
type Counts struct {
	Loads, FailedLoads   uint64
	Writes, FailedWrites uint64
	Evicted              uint64 // loads that did not find a session because Redis evicted it

	Wrong  int           // answers that break a promise
	Oldest time.Duration // the oldest answer, by the time from when a newer write was acknowledged to when the load began
}

// Failed returns how many operations failed.
func (c Counts) Failed() uint64 { return c.FailedLoads + c.FailedWrites }

// Loader is the part of a storage that Traffic loads from.
type Loader interface {
	Load(ctx context.Context, id string) (*session.Session, error)
}

// StartTraffic starts traffic that ends with the test. It returns when each session is stored.
func StartTraffic(t testing.TB, staleness time.Duration, ids []string, replicas ...*session.RoutingStorage) *Traffic {
	t.Helper()
	// Some sessions are written only through the first replica. They keep changing while another one is cut off.
	writers := func(i int) int { return 1 + i%len(replicas) }
	tr, ctx := newTraffic(t, staleness, ids, writers, replicas...)
	for _, h := range tr.histories {
		tr.running.Go(func() { tr.writeRepeatedly(ctx, h) })
		for i, replica := range replicas {
			tr.running.Go(func() {
				for pause(ctx, max(2*time.Millisecond, tr.share()/4)) {
					tr.load(ctx, h, replica, i)
				}
			})
		}
	}
	return tr
}

// Every changingShare-th session of StartUsers changes. The others stay as they are, so that nearly all loads are hits
// while change events flow.
const changingShare = 50

// StartUsers starts traffic that ends with the test: each session has a user, who loads it at an interval. A few
// sessions change meanwhile, through another replica. It returns when each session is stored.
func StartUsers(
	t testing.TB, staleness, interval time.Duration, ids []string, writer *session.RoutingStorage, from Loader,
) *Traffic {
	t.Helper()
	tr, ctx := newTraffic(t, staleness, ids, func(int) int { return 1 }, writer)
	for i, h := range tr.histories {
		if i%changingShare == 0 {
			tr.running.Go(func() { tr.writeRepeatedly(ctx, h) })
		}
		tr.running.Go(func() {
			pause(ctx, interval*time.Duration(i)/time.Duration(len(ids))) // not all at the same time
			for pause(ctx, interval) {
				tr.load(ctx, h, from, readOnly)
			}
		})
	}
	return tr
}

// newTraffic stores each session once. The context ends with the test, which waits for all that runs in tr.running.
func newTraffic(
	t testing.TB, staleness time.Duration, ids []string, writers func(i int) int, replicas ...*session.RoutingStorage,
) (*Traffic, context.Context) {
	t.Helper()
	tr := &Traffic{replicas: replicas, staleness: staleness}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		tr.running.Wait()
	})
	for i, id := range ids {
		h := &history{id: id, writers: writers(i)}
		tr.histories = append(tr.histories, h)
		require.NoError(t, tr.write(t.Context(), h, 0))
	}
	return tr, ctx
}

// share grows with the number of sessions, so that a small machine can handle the traffic of many.
func (tr *Traffic) share() time.Duration {
	return time.Duration(len(tr.histories)) * time.Millisecond
}

// Await waits for n more loads and n more writes.
func (tr *Traffic) Await(t testing.TB, n uint64) {
	t.Helper()
	loads, writes := tr.loads.Load()+n, tr.writes.Load()+n
	Await(t, "traffic", func() bool { return tr.loads.Load() >= loads && tr.writes.Load() >= writes })
}

// PauseWrites stops the writes, and returns when the last one has ended. Loads continue.
func (tr *Traffic) PauseWrites() (resume func()) {
	tr.writing.Lock()
	return tr.writing.Unlock
}

func (tr *Traffic) writeRepeatedly(ctx context.Context, h *history) {
	for i := 1; pause(ctx, max(10*time.Millisecond, tr.share())); i++ {
		tr.writing.RLock()
		err := tr.write(ctx, h, i%h.writers)
		tr.writing.RUnlock()
		if ctx.Err() != nil {
			return
		}
		tr.writes.Add(1)
		if err != nil {
			tr.failedWrites.Add(1)
			tr.failed("a write", err)
		}
	}
}

func (tr *Traffic) write(ctx context.Context, h *history, replica int) error {
	n := h.begin()
	var err error
	if deletes(n) {
		err = tr.replicas[replica].Delete(ctx, h.id)
	} else {
		err = tr.replicas[replica].Store(ctx, session.New(h.id).With("version", strconv.Itoa(n)))
	}
	if err == nil {
		h.acknowledge(n, replica)
	}
	return err
}

// LoseAll runs a fault that removes all sessions from Redis. The fault counts as a delete of each session: the old
// state may be served for no longer than after a delete.
func (tr *Traffic) LoseAll(fault func()) {
	defer tr.PauseWrites()()
	numbers := make([]int, len(tr.histories))
	for i, h := range tr.histories {
		numbers[i] = h.beginDelete()
	}
	fault()
	for i, h := range tr.histories {
		h.acknowledge(numbers[i], byFault)
	}
}

// AllowEviction makes "not found" a right answer from now on, because Redis may evict any session.
func (tr *Traffic) AllowEviction() { tr.evicting.Store(true) }

// LoadAll loads each session once from a replica that writes nothing, and checks the answers.
func (tr *Traffic) LoadAll(ctx context.Context, from Loader) {
	for _, h := range tr.histories {
		tr.load(ctx, h, from, readOnly)
	}
}

// LoadAllRepeatedly calls LoadAll in the background until the context ends.
func (tr *Traffic) LoadAllRepeatedly(ctx context.Context, from Loader) {
	tr.running.Go(func() {
		for pause(ctx, time.Millisecond) {
			tr.LoadAll(ctx, from)
		}
	})
}

// load checks one answer. A replica has to know its own writes at once.
func (tr *Traffic) load(ctx context.Context, h *history, from Loader, replica int) {
	start := time.Now()
	oldest := h.oldestAllowed(start, replica, tr.staleness)
	s, err := from.Load(ctx, h.id)
	if ctx.Err() != nil {
		return
	}
	tr.loads.Add(1)
	newest := h.newestPossible()
	switch {
	case err == nil:
		text, _ := s.Get("version")
		n, _ := strconv.Atoi(text)
		if n < oldest || n > newest || deletes(n) || s.ID() != h.id {
			tr.wrongf("write %q was loaded, where %d to %d were possible", text, oldest, newest)
		}
		tr.measure(h.age(n, start))
	case errors.Is(err, session.ErrNotFound):
		switch {
		case deletedBetween(oldest, newest):
			tr.measure(h.age(lastDelete(newest), start))
		case tr.evicting.Load():
			tr.evicted.Add(1)
		default:
			tr.wrongf("no session was found, but it existed from write %d to %d", oldest, newest)
		}
	default:
		tr.failedLoads.Add(1)
		tr.failed("a load", err)
	}
}

func (tr *Traffic) measure(age time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.oldest = max(tr.oldest, age)
}

func (tr *Traffic) failed(what string, err error) {
	tr.mu.Lock()
	tr.lastError = time.Now()
	tr.mu.Unlock()
	if !errors.Is(err, session.ErrUnavailable) {
		tr.wrongf("%s failed with another error than ErrUnavailable: %v", what, err)
	}
}

func (tr *Traffic) wrongf(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.wrong = append(tr.wrong, fmt.Sprintf(format, args...))
}

// Counts returns what was seen so far.
func (tr *Traffic) Counts() Counts {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return Counts{
		Loads: tr.loads.Load(), FailedLoads: tr.failedLoads.Load(),
		Writes: tr.writes.Load(), FailedWrites: tr.failedWrites.Load(),
		Evicted: tr.evicted.Load(),
		Wrong:   len(tr.wrong), Oldest: tr.oldest,
	}
}

// RequireRight fails the test if any answer so far was wrong.
func (tr *Traffic) RequireRight(t testing.TB) {
	t.Helper()
	c := tr.Counts()
	t.Logf("%d loads, %d of which failed; %d writes, %d of which failed",
		c.Loads, c.FailedLoads, c.Writes, c.FailedWrites)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	require.Empty(t, tr.wrong[:min(len(tr.wrong), 5)], "%d wrong answers", len(tr.wrong))
}

// LastErrorAfter returns how long after an instant the last error was seen.
func (tr *Traffic) LastErrorAfter(start time.Time) time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return max(0, tr.lastError.Sub(start)).Round(time.Millisecond)
}

// pause waits for d, and returns false when the context has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
