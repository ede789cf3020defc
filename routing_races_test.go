package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Each test here plays one interleaving, and fails when the line that defends against it is taken out.

var errLink = errors.New("connection reset by peer")

func TestLoadAnswerFromBeforeDeleteIsNotCached(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		loaded := loadLater(t.Context(), st)
		synctest.Wait() // the answer has been read and is on its way

		require.NoError(t, st.Delete(t.Context(), testID))
		release()
		require.Equal(t, outcome{value: "old"}, <-loaded, "the load began before the delete, so it may see the session")
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		require.EqualValues(t, 1, st.Stats().DroppedFills)
	})
}

func TestLoadDuringDeleteIsNotCached(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		releaseDelete := remote.hold("delete", "request")
		deleted := later(func() error { return st.Delete(t.Context(), testID) })
		synctest.Wait() // the local copy is dropped, the remote still has the session

		require.Equal(t, "old", loadNow(t.Context(), st).value)
		releaseDelete()
		require.NoError(t, <-deleted)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestLoadAnswerOnItsWayDuringDeleteIsNotCached(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		releaseDelete := remote.hold("delete", "request")
		deleted := later(func() error { return st.Delete(t.Context(), testID) })
		synctest.Wait()
		releaseLoad := remote.hold("load", "reply")
		loaded := loadLater(t.Context(), st)
		synctest.Wait() // begun after the first revocation, and read before the delete took effect

		releaseDelete()
		require.NoError(t, <-deleted)
		releaseLoad()
		require.Equal(t, "old", (<-loaded).value)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestLocalCopyIsGoneWhileDeleteIsUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		release := remote.hold("delete", "reply")
		deleted := later(func() error { return st.Delete(t.Context(), testID) })
		synctest.Wait() // deleted in the remote; the answer is on its way
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		release()
		require.NoError(t, <-deleted)
	})
}

func TestLoadAfterDeleteDoesNotJoinAnOlderFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		before := loadLater(t.Context(), st)
		synctest.Wait()

		require.NoError(t, st.Delete(t.Context(), testID))
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		release()
		require.Equal(t, "old", (<-before).value)
	})
}

func TestLoadAfterStoreDoesNotJoinAnOlderFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(10 * time.Minute)
		st := NewRoutingStorage(remote, 1) // so that another session evicts the stored one
		defer func() { require.NoError(t, st.Close()) }()
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		before := loadLater(t.Context(), st)
		synctest.Wait()

		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "new")))
		require.NoError(t, st.Store(t.Context(), New("another")))
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		release()
		require.Equal(t, "old", (<-before).value)
	})
}

func TestOldFlightIsNotJoined(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		before := loadLater(t.Context(), st)
		synctest.Wait()
		remote.elsewhere(t, testID, "new")

		time.Sleep(st.maxStaleness - 1)
		joined := loadLater(t.Context(), st)
		synctest.Wait()
		require.Equal(t, 1, remote.loadCount(), "within the bound the flight is shared")
		time.Sleep(time.Nanosecond)
		require.Equal(t, "new", loadNow(t.Context(), st).value)

		release()
		require.Equal(t, "old", (<-before).value)
		require.Equal(t, "old", (<-joined).value)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
		require.Equal(t, 2, remote.loadCount(), "the older answer has not taken the place of the younger one")
	}, WithLoadTimeout(time.Minute))
}

// TestOlderFlightMayBringTheLaterState: what was asked first need not be answered first.
func TestOlderFlightMayBringTheLaterState(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, remote *stagedRemote) outcome{
		"changed": func(t *testing.T, remote *stagedRemote) outcome {
			remote.elsewhere(t, testID, "new")
			return outcome{value: "new"}
		},
		"deleted": func(t *testing.T, remote *stagedRemote) outcome {
			require.NoError(t, remote.MemoryStorage.Delete(t.Context(), testID))
			return outcome{err: ErrNotFound}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
				remote.elsewhere(t, testID, "old")
				release := remote.hold("load", "request")
				first := loadLater(t.Context(), st)
				time.Sleep(st.maxStaleness) // now it is not joined any more
				require.Equal(t, outcome{value: "old"}, loadNow(t.Context(), st))
				want := change(t, remote)
				release()
				require.True(t, same(want, <-first))
				require.True(t, same(want, loadNow(t.Context(), st)), "whoever has seen it does not see what was before")
			}, WithLoadTimeout(time.Minute))
		})
	}
}

func same(want, got outcome) bool { return want.value == got.value && errors.Is(got.err, want.err) }

func TestAgeCountsFromBeforeTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		release := remote.hold("load", "reply")
		loaded := loadLater(t.Context(), st)
		synctest.Wait()
		remote.elsewhere(t, testID, "new") // acknowledged when the answer had been read, but not received

		time.Sleep(st.maxStaleness / 2)
		release()
		require.Equal(t, "old", (<-loaded).value)
		require.Equal(t, "old", loadNow(t.Context(), st).value, "a hit within the bound")
		time.Sleep(st.maxStaleness / 2)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestAgeOfAStoredSessionCountsFromBeforeTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "old")) })
		synctest.Wait()
		remote.elsewhere(t, testID, "new")

		time.Sleep(st.maxStaleness / 2)
		release()
		require.NoError(t, <-stored)
		time.Sleep(st.maxStaleness / 2)
		require.Equal(t, "new", loadNow(t.Context(), st).value)
	})
}

func TestFreshnessDoesNotSlideOnHits(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "old")
		require.Equal(t, "old", loadNow(t.Context(), st).value)
		remote.elsewhere(t, testID, "new")
		for range 1000 { // a hot key under a partition: refreshes fail, hits go on
			remote.fail("load", "request", errLink)
		}
		for range 20 {
			require.Equal(t, "old", loadNow(t.Context(), st).value)
			time.Sleep(st.maxStaleness / 20)
		}
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrUnavailable)
	})
}

func TestSlowerStoreDoesNotReplaceALaterOne(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		slow := later(func() error { return st.Store(t.Context(), New(testID).With("v", "first")) })
		synctest.Wait()
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "second")))
		release()
		require.NoError(t, <-slow)
		require.Equal(t, "second", loadNow(t.Context(), st).value)
		require.Zero(t, remote.loadCount(), "the later one stays cached")
	})
}

func TestStoreOverlappedByDeleteIsNotPromoted(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "deleted")) })
		synctest.Wait()
		require.NoError(t, st.Delete(t.Context(), testID))
		release()
		require.NoError(t, <-stored)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestStoreIsNotPromotedOverANewerChange(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		release := remote.hold("store", "reply")
		stored := later(func() error { return st.Store(t.Context(), New(testID).With("v", "mine")) })
		synctest.Wait()
		theirs := New(testID).With("v", "theirs")
		require.NoError(t, remote.MemoryStorage.Store(t.Context(), theirs))
		st.mu.Lock()
		st.changedLocked(testID, theirs.Revision()) // what an event does
		st.mu.Unlock()
		release()
		require.NoError(t, <-stored)
		require.Equal(t, "theirs", loadNow(t.Context(), st).value)
	})
}

func TestFillIsJudgedByTheRevisionOfAChange(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		newer bool // than what the flight brings
		loads int  // after a further load
	}{
		"the change that it has already": {newer: false, loads: 1},
		"a change that it misses":        {newer: true, loads: 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
				s := New(testID)
				require.NoError(t, remote.MemoryStorage.Store(t.Context(), s))
				release := remote.hold("load", "reply")
				loaded := loadLater(t.Context(), st)
				synctest.Wait()
				announced := s.Revision()
				if test.newer {
					announced++
				}
				st.mu.Lock()
				st.changedLocked(testID, announced)
				st.mu.Unlock()
				release()
				require.NoError(t, (<-loaded).err)
				require.NoError(t, loadNow(t.Context(), st).err)
				require.Equal(t, test.loads, remote.loadCount())
			})
		})
	}
}

func TestLocalCopyIsDroppedWhenAWriteFails(t *testing.T) {
	t.Parallel()
	writes := map[string]func(t *testing.T, st *RoutingStorage) error{
		"store": func(t *testing.T, st *RoutingStorage) error {
			return st.Store(t.Context(), New(testID).With("v", "new"))
		},
		"delete": func(t *testing.T, st *RoutingStorage) error { return st.Delete(t.Context(), testID) },
	}
	for op, write := range writes {
		for _, way := range []string{"request", "reply"} {
			t.Run(op+" fails at the "+way, func(t *testing.T) {
				inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
					remote.elsewhere(t, testID, "old")
					require.NoError(t, loadNow(t.Context(), st).err)
					remote.fail(op, way, errLink)
					require.ErrorIs(t, write(t, st), ErrUnavailable)

					got := loadNow(t.Context(), st)
					require.Equal(t, 2, remote.loadCount(), "the remote is asked what became of it")
					switch {
					case way == "request":
						require.Equal(t, outcome{value: "old"}, got)
					case op == "store":
						require.Equal(t, outcome{value: "new"}, got)
					default:
						require.ErrorIs(t, got.err, ErrNotFound)
					}
				})
			})
		}
	}
}

func TestCancelledWaiterDoesNotEndTheFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "x")
		release := remote.hold("load", "request")
		ctx, cancel := context.WithCancel(t.Context())
		first := loadLater(ctx, st)
		synctest.Wait()
		second := loadLater(t.Context(), st)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		release()
		require.Equal(t, outcome{value: "x"}, <-second)
		require.Equal(t, 1, remote.loadCount())
	})
}

func TestConcurrentMissesShareOneFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		remote.elsewhere(t, testID, "x")
		release := remote.hold("load", "request")
		var loads []<-chan outcome
		for range 100 {
			loads = append(loads, loadLater(t.Context(), st))
		}
		synctest.Wait()
		release()
		for _, loaded := range loads {
			require.Equal(t, outcome{value: "x"}, <-loaded)
		}
		require.Equal(t, 1, remote.loadCount())
	})
}

func TestFlightThatLandsJustBeforeAnotherWouldStart(t *testing.T) {
	inBubble(t, func(t *testing.T, remote *stagedRemote, st *RoutingStorage) {
		s := New(testID)
		require.NoError(t, st.Store(t.Context(), s))
		// A load that looked before the entry was there looks again under the lock.
		_, err := st.loadRemote(t.Context(), testID)
		require.NoError(t, err)
		require.Zero(t, remote.loadCount())
		require.EqualValues(t, 1, st.Stats().Hits)
		require.NoError(t, st.Close())
	})
}
