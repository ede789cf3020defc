package realtest

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/seed34611480/session"
)

const (
	fenceWorkers = 8

	// fenceStock is how many sessions wait to be deleted, each with a copy in every replica. While a fault keeps the
	// replicas from taking new copies, these are deleted.
	fenceStock = 32

	// fenceLimit is how long a fence may take, as RoutingStorage.Fence documents it.
	fenceLimit = Staleness + Staleness/500

	// FenceMargin is how much later than a timer of that length a fence may return, on a machine under load.
	FenceMargin = Staleness / 2
)

// Fences deletes sessions of which every replica has a copy, calls a fence after each, and then loads the session
// everywhere: it must not be served. All replicas need WithFencing.
type Fences struct {
	traffic *Traffic
	loaders []Loader
	stock   chan string

	mu   sync.Mutex // protects following field
	seen FenceCounts
}

// FenceCounts is what Fences has seen since it was asked last.
type FenceCounts struct {
	Fences  int           // that have returned nil
	Early   int           // of these, those that took less than half of MaxStaleness
	Longest time.Duration // that a fence took
	Loads   int           // of a session that was deleted before the fence, after it
	Served  int           // of these, those that returned the session
}

// StartFences begins to call fences through the replicas of the traffic, which lasts until the test ends. It loads from
// these, and from the others.
func (tr *Traffic) StartFences(t testing.TB, others ...Loader) *Fences {
	t.Helper()
	f := &Fences{traffic: tr, stock: make(chan string, fenceStock)}
	for _, replica := range tr.replicas {
		f.loaders = append(f.loaders, replica)
	}
	f.loaders = append(f.loaders, others...)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for i := range fenceWorkers {
		running.Go(func() { f.fillStock(ctx, f.replica(i)) })
		// Over all workers, each replica calls fences for what each of them has deleted.
		running.Go(func() { f.deleteRepeatedly(ctx, f.replica(i), f.replica(i/len(tr.replicas))) })
	}
	return f
}

// Await waits for n more loads after a fence.
func (f *Fences) Await(t testing.TB, n int) {
	t.Helper()
	loads := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.seen.Loads
	}
	first := loads()
	Await(t, "loads after fences", func() bool { return loads() >= first+n })
}

// Take returns what was seen since the last call.
func (f *Fences) Take() FenceCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen
	f.seen = FenceCounts{}
	return seen
}

func (f *Fences) count(change func(seen *FenceCounts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.seen)
}

func (f *Fences) replica(i int) *session.RoutingStorage {
	return f.traffic.replicas[i%len(f.traffic.replicas)]
}

// fillStock stores sessions, and has every replica take a copy.
func (f *Fences) fillStock(ctx context.Context, through *session.RoutingStorage) {
	for pause(ctx, 2*time.Millisecond) {
		id := rand.Text()
		err := f.write(func() error { return through.Store(ctx, session.New(id).With("version", "1")) })
		for _, from := range f.loaders {
			if err == nil {
				_, err = from.Load(ctx, id)
			}
		}
		if err != nil {
			continue
		}
		select {
		case f.stock <- id:
		case <-ctx.Done():
		}
	}
}

// write does not run while the writes of the traffic are paused.
func (f *Fences) write(do func() error) error {
	f.traffic.writing.RLock()
	defer f.traffic.writing.RUnlock()
	return do()
}

// deleteRepeatedly calls fences also when there is nothing to delete, or a delete has failed: the time that a fence
// takes is bounded in any case.
func (f *Fences) deleteRepeatedly(ctx context.Context, through, caller *session.RoutingStorage) {
	for pause(ctx, 5*time.Millisecond) {
		deleted := ""
		select {
		case id := <-f.stock:
			if f.write(func() error { return through.Delete(ctx, id) }) == nil {
				deleted = id
			}
		default:
		}
		if !f.fence(ctx, caller) {
			return
		}
		if deleted != "" {
			f.loadEverywhere(ctx, deleted)
		}
	}
}

func (f *Fences) fence(ctx context.Context, caller *session.RoutingStorage) (ok bool) {
	fired := make(chan time.Time, 1) // on a machine that stalls, a timer is as late as the fence
	timer := time.AfterFunc(fenceLimit, func() { fired <- time.Now() })
	defer timer.Stop()
	start := time.Now()
	err := caller.Fence(ctx)
	took := time.Since(start)
	if err != nil {
		if ctx.Err() == nil {
			f.traffic.wrongf("a fence failed: %v", err)
		}
		return false
	}
	select {
	case limit := <-fired:
		if late := time.Since(limit); late > FenceMargin {
			f.traffic.wrongf("a fence took %v, %v longer than its limit", took, late)
		}
	default:
	}
	f.count(func(seen *FenceCounts) {
		seen.Fences++
		if took < Staleness/2 {
			seen.Early++
		}
		seen.Longest = max(seen.Longest, took)
	})
	return true
}

// loadEverywhere loads a session that was deleted before the last fence. All loads begin at once: the longer after the
// fence, the less a load can tell.
func (f *Fences) loadEverywhere(ctx context.Context, id string) {
	var loading sync.WaitGroup
	for _, from := range f.loaders {
		loading.Go(func() {
			_, err := from.Load(ctx, id)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				f.traffic.wrongf("a session was served after the fence that followed its delete")
			case !errors.Is(err, session.ErrNotFound) && !errors.Is(err, session.ErrUnavailable):
				f.traffic.wrongf("a load failed with another error than ErrUnavailable: %v", err)
			}
			f.count(func(seen *FenceCounts) {
				seen.Loads++
				if err == nil {
					seen.Served++
				}
			})
		})
	}
	loading.Wait()
}
