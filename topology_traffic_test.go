package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// checkedTraffic is loads, stores and deletes of a few sessions through several replicas at once. It checks each
// answer by what is promised, exactly, as long as the servers keep the writes that they acknowledged: see pauseWrites.
type checkedTraffic struct {
	replicas  []*session.RoutingStorage
	sessions  []*timeline
	staleness time.Duration

	writing sync.RWMutex // shared by the writers, for one write each
	running sync.WaitGroup

	loads, writes, failedLoads, failedWrites atomic.Uint64

	mu         sync.Mutex // protects following fields
	violations []string
	lastError  time.Time
}

// timeline is the history of one session. It has one writer, so its writes are numbered, and the session that write n
// stores says n. Some writes are deletes.
type timeline struct {
	id string

	mu           sync.Mutex // protects following fields
	begun        int        // the last write that was sent
	acknowledged []acknowledgement
}

type acknowledgement struct {
	write   int
	at      time.Time
	replica int
}

func deletes(write int) bool { return write%4 == 0 }

// startCheckedTraffic returns when each session is stored.
func startCheckedTraffic(
	t *testing.T, staleness time.Duration, ids []string, replicas ...*session.RoutingStorage,
) *checkedTraffic {
	t.Helper()
	tr := &checkedTraffic{replicas: replicas, staleness: staleness}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		tr.running.Wait()
	})
	for _, id := range ids {
		line := &timeline{id: id}
		tr.sessions = append(tr.sessions, line)
		require.NoError(t, tr.write(t.Context(), line, 0))
	}
	for _, line := range tr.sessions {
		tr.running.Go(func() { tr.writeOn(ctx, line) })
		for i := range replicas {
			tr.running.Go(func() { tr.loadOn(ctx, line, i) })
		}
	}
	return tr
}

// await waits for so many more loads and writes.
func (tr *checkedTraffic) await(t *testing.T, n uint64) {
	t.Helper()
	loads, writes := tr.loads.Load()+n, tr.writes.Load()+n
	await(t, "traffic", func() bool { return tr.loads.Load() >= loads && tr.writes.Load() >= writes })
}

// pauseWrites returns when none is under way. Loads go on.
func (tr *checkedTraffic) pauseWrites() (resume func()) {
	tr.writing.Lock()
	return tr.writing.Unlock
}

func (tr *checkedTraffic) writeOn(ctx context.Context, line *timeline) {
	for i := 1; pace(ctx, 10*time.Millisecond); i++ {
		tr.writing.RLock()
		err := tr.write(ctx, line, i%len(tr.replicas))
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

func (tr *checkedTraffic) write(ctx context.Context, line *timeline, replica int) error {
	line.mu.Lock()
	line.begun++
	n := line.begun
	line.mu.Unlock()
	var err error
	if deletes(n) {
		err = tr.replicas[replica].Delete(ctx, line.id)
	} else {
		err = tr.replicas[replica].Store(ctx, session.New(line.id).With("n", strconv.Itoa(n)))
	}
	if err == nil {
		line.mu.Lock()
		line.acknowledged = append(line.acknowledged, acknowledgement{n, time.Now(), replica})
		line.mu.Unlock()
	}
	return err
}

func (tr *checkedTraffic) loadOn(ctx context.Context, line *timeline, replica int) {
	for pace(ctx, 2*time.Millisecond) {
		oldest := line.oldestAllowed(time.Now(), replica, tr.staleness)
		s, err := tr.replicas[replica].Load(ctx, line.id)
		if ctx.Err() != nil {
			return
		}
		tr.loads.Add(1)
		newest := line.newestPossible()
		switch {
		case err == nil:
			text, _ := s.Get("n")
			if n, _ := strconv.Atoi(text); n < oldest || n > newest {
				tr.violatedf("write %s was loaded, where %d to %d were possible", text, oldest, newest)
			}
		case errors.Is(err, session.ErrNotFound):
			if !deletedBetween(oldest, newest) {
				tr.violatedf("no session was found, but it lived from write %d to %d", oldest, newest)
			}
		default:
			tr.failedLoads.Add(1)
			tr.failed("a load", err)
		}
	}
}

// oldestAllowed returns the oldest write whose effect a load through a replica may return, if it begins now.
func (l *timeline) oldestAllowed(now time.Time, replica int, staleness time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range slices.Backward(l.acknowledged) {
		if a.replica == replica || now.Sub(a.at) > staleness {
			return a.write
		}
	}
	return 0
}

func (l *timeline) newestPossible() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun
}

func deletedBetween(first, last int) bool {
	for n := first; n <= last; n++ {
		if deletes(n) {
			return true
		}
	}
	return false
}

func (tr *checkedTraffic) failed(what string, err error) {
	tr.mu.Lock()
	tr.lastError = time.Now()
	tr.mu.Unlock()
	if !errors.Is(err, session.ErrUnavailable) {
		tr.violatedf("%s failed otherwise than by an outage: %v", what, err)
	}
}

func (tr *checkedTraffic) violatedf(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.violations = append(tr.violations, fmt.Sprintf(format, args...))
}

// requireSound fails the test if a promise was broken so far.
func (tr *checkedTraffic) requireSound(t *testing.T) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	t.Logf("%d loads, %d of which failed; %d writes, %d of which failed",
		tr.loads.Load(), tr.failedLoads.Load(), tr.writes.Load(), tr.failedWrites.Load())
	require.Empty(t, tr.violations)
}

// failingUntil returns how long after an instant the last error was seen.
func (tr *checkedTraffic) failingUntil(since time.Time) time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return max(0, tr.lastError.Sub(since)).Round(time.Millisecond)
}

// pace waits, and tells whether to go on.
func pace(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
