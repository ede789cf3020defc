package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// revalidatingRemote is a scriptedRemote that can revalidate. It notes how many sessions it was asked for at a time.
type revalidatingRemote struct {
	*scriptedRemote

	batches  []int // guarded by stagedRemote.mu, likewise the following
	underWay int
	most     int // under way at the same time
}

func (r *revalidatingRemote) Revalidate(ctx context.Context, sessions []*Session) ([]bool, error) {
	r.count(len(sessions), 1)
	defer r.count(0, -1)
	if err := r.pass("revalidate", "request"); err != nil {
		return nil, err
	}
	unchanged := make([]bool, len(sessions))
	for i, s := range sessions {
		found, err := r.MemoryStorage.Load(context.WithoutCancel(ctx), s.ID())
		unchanged[i] = err == nil && found.Revision() == s.Revision()
	}
	return unchanged, r.pass("revalidate", "reply")
}

func (r *revalidatingRemote) count(sessions, calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sessions > 0 {
		r.batches = append(r.batches, sessions)
	}
	r.underWay += calls
	r.most = max(r.most, r.underWay)
}

func (r *revalidatingRemote) takeBatches() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	batches := r.batches
	r.batches = nil
	return batches
}

// inRevalidatingBubble runs a test with n sessions, stored at the same time, in a local tier that has room for them.
func inRevalidatingBubble(
	t *testing.T, n int, test func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage), opts ...RoutingOption,
) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		staged := newStagedRemote(10 * time.Minute)
		remote := &revalidatingRemote{scriptedRemote: &scriptedRemote{staged, make(chan Event)}}
		st := NewRoutingStorage(remote, max(n, 1), opts...)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		for i := range n {
			require.NoError(t, st.Store(t.Context(), numbered(i).With("v", "old")))
		}
		test(t, remote, st)
	})
}

func numbered(i int) *Session { return New(fmt.Sprint("id-", i)) }

// loadAll loads n sessions and expects hits.
func loadAll(t *testing.T, st *RoutingStorage, n int) {
	t.Helper()
	misses := st.Stats().Misses
	for i := range n {
		_, err := st.Load(t.Context(), numbered(i).ID())
		require.NoError(t, err)
	}
	require.Equal(t, misses, st.Stats().Misses)
}

func valueOf(t *testing.T, st *RoutingStorage, i int) string {
	t.Helper()
	s, err := st.Load(t.Context(), numbered(i).ID())
	require.NoError(t, err)
	v, _ := s.Get("v")
	return v
}

func workers(st *RoutingStorage) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.refresher.workers
}

// due is when entries are due that are bounded by their age, and sent when they have waited for others.
func due(st *RoutingStorage) (at, sent time.Duration) {
	return st.maxStaleness/2 - st.refresher.gather, st.maxStaleness / 2
}

func TestWhatIsDueTogetherIsRevalidatedTogether(t *testing.T) {
	const n = 2*maxBatch + 10
	const moment = time.Nanosecond
	inRevalidatingBubble(t, n, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		before, err := st.Load(t.Context(), numbered(3).ID())
		require.NoError(t, err)
		at, _ := due(st)
		for range 10 { // for which nothing but revalidations keep them
			time.Sleep(at)
			loadAll(t, st, n)
			time.Sleep(st.refresher.gather - moment)
			require.Empty(t, remote.takeBatches(), "others may join")
			require.Equal(t, 1, workers(st), "which they do")
			time.Sleep(moment)
			synctest.Wait()
			batches := remote.takeBatches()
			slices.Sort(batches) // they are under way at the same time
			require.Equal(t, []int{10, maxBatch, maxBatch}, batches)
		}
		require.EqualValues(t, 10*n, st.Stats().Refreshes)
		require.Zero(t, remote.loadCount())
		after, err := st.Load(t.Context(), numbered(3).ID())
		require.NoError(t, err)
		require.Same(t, before, after)
	})
}

func TestRevalidationIsInTimeToKeepSessionsAlive(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		defer remote.flow(st)()
		time.Sleep(st.maxStaleness) // the entries of before are not leased
		for i := range 2 {
			_, err := st.Load(t.Context(), numbered(i).ID())
			require.NoError(t, err)
		}
		fetched := time.Now()
		const pause = time.Millisecond
		for len(remote.takeBatches()) == 0 {
			loadAll(t, st, 2)
			time.Sleep(pause)
		}
		require.LessOrEqual(t, time.Since(fetched), st.refreshAfter+2*pause)
		require.Greater(t, time.Since(fetched), st.refreshAfter-2*st.refresher.gather)
		for range 1000 { // 100 minutes
			time.Sleep(6 * time.Second)
			loadAll(t, st, 2)
		}
		require.EqualValues(t, 2, st.Stats().Misses)
	})
}

func TestWhatIsDueAloneIsLoaded(t *testing.T) {
	inRevalidatingBubble(t, 1, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		at, _ := due(st)
		time.Sleep(at)
		loadAll(t, st, 1)
		time.Sleep(st.refresher.gather)
		synctest.Wait()
		require.Empty(t, remote.takeBatches())
		require.Equal(t, 1, remote.loadCount())
	})
}

func TestRevalidationFindsChanges(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		remote.elsewhere(t, numbered(1).ID(), "new")
		require.NoError(t, remote.MemoryStorage.Delete(t.Context(), numbered(2).ID()))
		at, _ := due(st)
		time.Sleep(at)
		loadAll(t, st, 4)
		time.Sleep(st.refresher.gather)
		synctest.Wait()
		require.Equal(t, []int{4}, remote.takeBatches())
		require.Equal(t, 2, remote.loadCount(), "those that have changed")
		require.Equal(t, "old", valueOf(t, st, 0))
		require.Equal(t, "new", valueOf(t, st, 1))
		require.Equal(t, "old", valueOf(t, st, 3))
		require.Zero(t, st.Stats().Misses)
		_, err := st.Load(t.Context(), numbered(2).ID())
		require.ErrorIs(t, err, ErrNotFound)
	})
}

// heldRevalidation begins a revalidation of all n entries, and stops its answer.
func heldRevalidation(t *testing.T, remote *revalidatingRemote, st *RoutingStorage, n int) (release func()) {
	t.Helper()
	at, _ := due(st)
	release = remote.hold("revalidate", "reply")
	time.Sleep(at)
	loadAll(t, st, n)
	time.Sleep(st.refresher.gather)
	synctest.Wait()
	require.Equal(t, []int{n}, remote.takeBatches())
	return release
}

func TestRevalidationBringsNothingBack(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		release := heldRevalidation(t, remote, st, 4)
		require.NoError(t, st.Delete(t.Context(), numbered(0).ID()))
		require.NoError(t, st.Store(t.Context(), numbered(1).With("v", "new")))
		remote.elsewhere(t, numbered(2).ID(), "new")
		remote.report(Gap{}, Changed{ID: numbered(2).ID(), Revision: maxRevision})
		release()
		synctest.Wait()
		_, err := st.Load(t.Context(), numbered(0).ID())
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, "new", valueOf(t, st, 1))
		require.Equal(t, "new", valueOf(t, st, 2))
		require.Equal(t, "old", valueOf(t, st, 3))
	})
}

func TestRevalidatedEntryIsAsOldAsTheQuestion(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		release := heldRevalidation(t, remote, st, 2)
		remote.elsewhere(t, numbered(0).ID(), "new")
		time.Sleep(st.maxStaleness / 4) // on its way
		release()
		synctest.Wait()
		time.Sleep(st.maxStaleness * 3 / 4)
		require.Equal(t, "new", valueOf(t, st, 0))
	})
}

func TestRevalidatedEntryIsOfTheEpochOfTheQuestion(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		remote.report(Gap{}, Alive{AsOf: time.Now()})
		release := heldRevalidation(t, remote, st, 2)
		remote.elsewhere(t, numbered(0).ID(), "new")
		remote.report(brokenOff{}) // and the event is lost
		time.Sleep(st.maxStaleness / 4)
		defer remote.flow(st)()
		release()
		synctest.Wait()
		time.Sleep(st.maxStaleness * 3 / 4)
		require.Equal(t, ModeLeased, st.Stats().Mode)
		require.Equal(t, "new", valueOf(t, st, 0))
	})
}

func TestRevalidatedSessionThatWasStampedElsewhere(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		handedOut, err := st.Load(t.Context(), numbered(0).ID())
		require.NoError(t, err)
		want := handedOut.Revision()
		release := heldRevalidation(t, remote, st, 2)
		Stamp(handedOut, want+1)
		release()
		synctest.Wait()
		got, err := st.Load(t.Context(), numbered(0).ID())
		require.NoError(t, err)
		require.Equal(t, want, got.Revision())
	})
}

func TestRevalidationThatFailsIsMadeUpForByLoads(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(remote *revalidatingRemote){
		"not sent":    func(remote *revalidatingRemote) { remote.fail("revalidate", "request", errLink) },
		"no answer":   func(remote *revalidatingRemote) { remote.fail("revalidate", "reply", errLink) },
		"unsupported": func(remote *revalidatingRemote) { remote.fail("revalidate", "request", errors.ErrUnsupported) },
	} {
		t.Run(name, func(t *testing.T) {
			inRevalidatingBubble(t, 5, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
				prepare(remote)
				at, sent := due(st)
				time.Sleep(at)
				loadAll(t, st, 5)
				time.Sleep(sent - at)
				synctest.Wait()
				require.Equal(t, []int{5}, remote.takeBatches())
				require.Equal(t, 5, remote.loadCount())

				time.Sleep(sent)
				loadAll(t, st, 5)
				time.Sleep(sent - at)
				synctest.Wait()
				loadAll(t, st, 5)
				if name == "unsupported" {
					require.Empty(t, remote.takeBatches(), "once is enough")
					require.Equal(t, 10, remote.loadCount())
				} else {
					require.Equal(t, []int{5}, remote.takeBatches())
				}
			})
		})
	}
}

func TestRevalidationThatIsNotAnsweredIsGivenUp(t *testing.T) {
	const patience = 100 * time.Millisecond
	inRevalidatingBubble(t, 5, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		remote.hold("revalidate", "request") // for good: the remote does not heed its context
		at, sent := due(st)
		time.Sleep(at)
		loadAll(t, st, 5)
		time.Sleep(sent - at + patience)
		synctest.Wait()
		require.Equal(t, []int{5}, remote.takeBatches())
		require.Equal(t, 5, remote.loadCount())
		time.Sleep(st.maxStaleness / 2)
		loadAll(t, st, 5)
	}, WithLoadTimeout(patience))
}

func TestOneLoadDoesNotHoldUpTheOthersOfItsBatch(t *testing.T) {
	inRevalidatingBubble(t, 5, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		remote.fail("revalidate", "request", errLink)
		remote.hold("load", "request")
		at, sent := due(st)
		time.Sleep(at)
		loadAll(t, st, 5)
		time.Sleep(sent - at)
		synctest.Wait()
		require.Equal(t, 5, remote.loadCount())
		require.Equal(t, 1, workers(st))
	})
}

func TestRevalidationsAreBounded(t *testing.T) {
	const n = 10 * maxBatch
	inRevalidatingBubble(t, n, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		var releases []func()
		for range 3 {
			releases = append(releases, remote.hold("revalidate", "request"))
		}
		at, _ := due(st)
		time.Sleep(at)
		loadAll(t, st, n)
		time.Sleep(st.refresher.gather)
		synctest.Wait()
		require.Len(t, remote.takeBatches(), 3)
		for _, release := range releases {
			release()
		}
		synctest.Wait()
		require.Len(t, remote.takeBatches(), 7)
		require.Equal(t, 3, remote.most)
		require.EqualValues(t, n, st.Stats().Refreshes)
	}, WithRefreshConcurrency(3))
}

func TestWorkerLeavesThoseThatAreGathering(t *testing.T) {
	inRevalidatingBubble(t, 4, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		release := heldRevalidation(t, remote, st, 2)
		loadAll(t, st, 4) // two more are due
		time.Sleep(st.refresher.gather / 2)
		release()
		synctest.Wait()
		require.Empty(t, remote.takeBatches())
		require.Equal(t, 1, workers(st))
		time.Sleep(st.refresher.gather / 2)
		synctest.Wait()
		require.Equal(t, []int{2}, remote.takeBatches())
	})
}

func TestRevalidationEndsAnOutage(t *testing.T) {
	inRevalidatingBubble(t, 3, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		time.Sleep(st.maxStaleness)
		remote.fail("load", "request", errLink)
		require.Equal(t, "old", valueOf(t, st, 0))
		require.Equal(t, ModeStaleIfError, st.Stats().Mode)
		require.NoError(t, st.Store(t.Context(), numbered(1)))
		require.NoError(t, st.Store(t.Context(), numbered(2)))
		at, sent := due(st)
		time.Sleep(at)
		for i := 1; i <= 2; i++ {
			_, err := st.Load(t.Context(), numbered(i).ID())
			require.NoError(t, err)
		}
		time.Sleep(sent - at)
		synctest.Wait()
		require.Equal(t, []int{2}, remote.takeBatches())
		require.Equal(t, ModeBoundedAge, st.Stats().Mode)
	}, WithStaleIfError(time.Minute))
}

func TestCloseDoesNotWaitForOthersToJoin(t *testing.T) {
	inRevalidatingBubble(t, 2, func(t *testing.T, remote *revalidatingRemote, st *RoutingStorage) {
		at, _ := due(st)
		time.Sleep(at)
		loadAll(t, st, 2)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, st.Close())
		require.Zero(t, time.Since(start))
		require.Empty(t, remote.takeBatches())
		require.Zero(t, remote.loadCount())
	})
}
