package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
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

	evicting atomic.Bool   // Redis may lose any session by itself
	evicted  atomic.Uint64 // loads that found one lost

	mu         sync.Mutex // protects following fields
	violations []string
	lastError  time.Time
	oldest     time.Duration // age of an answer, counted from when a newer write was acknowledged
}

// timeline is the history of one session. It has one writer, so its writes are numbered, and the session that write n
// stores says n. Some writes are deletes.
type timeline struct {
	id      string
	writers int // how many of the replicas it is written through, in turn

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

func lastDelete(write int) int { return write - write%4 }

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
	for i, id := range ids {
		// Some are written through the first replica alone: should another one be cut off, they go on changing.
		line := &timeline{id: id, writers: 1 + i%len(replicas)}
		tr.sessions = append(tr.sessions, line)
		require.NoError(t, tr.write(t.Context(), line, 0))
	}
	for _, line := range tr.sessions {
		tr.running.Go(func() { tr.writeOn(ctx, line) })
		for i, replica := range replicas {
			tr.running.Go(func() {
				for pace(ctx, max(2*time.Millisecond, tr.share()/4)) {
					tr.load(ctx, line, replica, i)
				}
			})
		}
	}
	return tr
}

// share keeps the traffic of many sessions to what a small machine can do.
func (tr *checkedTraffic) share() time.Duration {
	return time.Duration(len(tr.sessions)) * time.Millisecond
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
	for i := 1; pace(ctx, max(10*time.Millisecond, tr.share())); i++ {
		tr.writing.RLock()
		err := tr.write(ctx, line, i%line.writers)
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
		err = tr.replicas[replica].Store(ctx, session.New(line.id).With("version", strconv.Itoa(n)))
	}
	if err == nil {
		line.mu.Lock()
		line.acknowledged = append(line.acknowledged, acknowledgement{n, time.Now(), replica})
		line.mu.Unlock()
	}
	return err
}

// lose is for a fault that takes all sessions. To the checker it deletes them: what was there before may be served no
// longer than after a delete.
func (tr *checkedTraffic) lose(fault func()) {
	defer tr.pauseWrites()()
	for _, line := range tr.sessions {
		line.mu.Lock()
		line.begun++
		for !deletes(line.begun) {
			line.begun++
		}
		line.mu.Unlock()
	}
	fault()
	for _, line := range tr.sessions {
		line.mu.Lock()
		line.acknowledged = append(line.acknowledged, acknowledgement{line.begun, time.Now(), nobody})
		line.mu.Unlock()
	}
}

const nobody = -1 // in place of a replica

// load checks one answer. What a replica has written itself it has to know at once.
func (tr *checkedTraffic) load(ctx context.Context, line *timeline, from loader, replica int) {
	start := time.Now()
	oldest := line.oldestAllowed(start, replica, tr.staleness)
	s, err := from.Load(ctx, line.id)
	if ctx.Err() != nil {
		return
	}
	tr.loads.Add(1)
	newest := line.newestPossible()
	switch {
	case err == nil:
		text, _ := s.Get("version")
		n, _ := strconv.Atoi(text)
		if n < oldest || n > newest || deletes(n) || s.ID() != line.id {
			tr.violatedf("write %q was loaded, where %d to %d were possible", text, oldest, newest)
		}
		tr.measure(line.age(n, start))
	case errors.Is(err, session.ErrNotFound):
		switch {
		case deletedBetween(oldest, newest):
			tr.measure(line.age(lastDelete(newest), start))
		case tr.evicting.Load():
			tr.evicted.Add(1)
		default:
			tr.violatedf("no session was found, but it lived from write %d to %d", oldest, newest)
		}
	default:
		tr.failedLoads.Add(1)
		tr.failed("a load", err)
	}
}

func (tr *checkedTraffic) measure(age time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.oldest = max(tr.oldest, age)
}

// age returns for how long a write had been overwritten at an instant.
func (l *timeline) age(n int, at time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.acknowledged), func(i int) bool { return l.acknowledged[i].write > n })
	if i == len(l.acknowledged) {
		return 0
	}
	return at.Sub(l.acknowledged[i].at)
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
	require.Empty(t, tr.violations[:min(len(tr.violations), 5)], "%d wrong answers", len(tr.violations))
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
