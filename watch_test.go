package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// observer is a Watch call in the background, and what it was told.
type observer struct {
	ended <-chan error
	stop  context.CancelFunc

	mu     sync.Mutex // protects following fields
	events []Event
	stall  chan struct{} // what fn waits for; nil for nothing
}

// observe begins to watch, in a bubble.
func observe(t *testing.T, st Watcher, heartbeat time.Duration, stall chan struct{}) *observer {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	o := &observer{stop: stop, stall: stall}
	o.ended = later(func() error {
		return st.Watch(ctx, heartbeat, func(e Event) {
			if stall != nil {
				<-stall
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, e)
		})
	})
	synctest.Wait()
	return o
}

// take returns what was reported since it was called last.
func (o *observer) take() []Event {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.events
	o.events = nil
	return events
}

func TestWatchersShareOneSubscription(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		first := observe(t, st, time.Millisecond, nil)
		require.Equal(t, []Event{Gap{}}, first.take())
		remote.report(Gap{}, Alive{AsOf: time.Now()}) // the only Watch of the remote: it would take the events of another
		require.Equal(t, []Event{Gap{}, Alive{AsOf: time.Now()}}, first.take())

		second := observe(t, st, time.Millisecond, nil)
		time.Sleep(time.Second)
		events := []Event{
			Changed{ID: testID, Revision: 7},
			Removed{ID: testID, Revision: 7},
			Removed{ID: "another"},
			Alive{AsOf: time.Now()},
		}
		remote.report(events...)
		require.Equal(t, events, first.take())
		require.Equal(t, append([]Event{Gap{}}, events...), second.take())

		second.stop()
		require.ErrorIs(t, <-second.ended, context.Canceled)
		remote.report(brokenOff{})
		time.Sleep(time.Second)
		remote.report(Gap{}, Changed{ID: testID, Revision: 8})
		require.Equal(t, []Event{Gap{}, Changed{ID: testID, Revision: 8}}, first.take(), "the subscription began anew")
		require.Empty(t, second.take())

		require.NoError(t, st.Close())
		require.ErrorIs(t, <-first.ended, ErrClosed)
		require.ErrorIs(t, <-observe(t, st, time.Second, nil).ended, ErrClosed)
		require.Empty(t, st.events.watchers)
	})
}

// TestEventComesAfterTheLocalTier: a watcher that loads the session gets what the event tells of.
func TestEventComesAfterTheLocalTier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStorage(time.Hour)
		st := NewRoutingStorage(memory, 10)
		defer func() { require.NoError(t, st.Close()) }()
		ctx, cancel := context.WithCancel(t.Context())
		var got []outcome
		watched := later(func() error {
			return st.Watch(ctx, time.Hour, func(e Event) {
				switch e.(type) {
				case Changed, Removed:
					got = append(got, loadNow(ctx, st))
				}
			})
		})
		synctest.Wait()
		for i := range 3 {
			require.NoError(t, memory.Store(t.Context(), New(testID).With("v", strconv.Itoa(i))))
			synctest.Wait()
			require.Equal(t, outcome{value: strconv.Itoa(i)}, got[i])
		}
		require.NoError(t, memory.Delete(t.Context(), testID))
		synctest.Wait()
		require.ErrorIs(t, got[3].err, ErrNotFound)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
	})
}

func TestWatcherThatStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStorage(time.Hour)
		st := NewRoutingStorage(memory, 10)
		defer func() { require.NoError(t, st.Close()) }()
		stall := make(chan struct{})
		slow, quick := observe(t, st, time.Hour, stall), observe(t, st, time.Hour, nil)
		require.NoError(t, st.Store(t.Context(), New(testID).With("v", "old")))
		for i := range maxBacklog + 10 {
			require.NoError(t, memory.Delete(t.Context(), "absent"))
			if i%1000 == 0 {
				synctest.Wait() // so that the others keep up
			}
		}
		require.NoError(t, memory.Store(t.Context(), New(testID).With("v", "new")))
		synctest.Wait()
		require.Equal(t, "new", loadNow(t.Context(), st).value, "the local tier has not waited")
		require.Len(t, quick.take(), 1+1+maxBacklog+10+1)
		close(stall)
		events := slow.take()
		require.Equal(t, []Event{Gap{}, Gap{}}, events[:2], "one at the beginning, one for what it has missed")
		require.Equal(t, memory.lastRevision, events[len(events)-1].(Changed).Revision)
		slow.stop()
		quick.stop()
		require.ErrorIs(t, <-slow.ended, context.Canceled)
		require.ErrorIs(t, <-quick.ended, context.Canceled)
	})
}

// TestProofsWaitForTheirEvents: a slow watcher gets no proof ahead of what it proves, and no more of them than needed.
func TestProofsWaitForTheirEvents(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		stall := make(chan struct{})
		slow := observe(t, st, time.Millisecond, stall)
		remote.report(Gap{})
		for i := range 3 {
			for range 100 {
				time.Sleep(staleness / 4)
				remote.report(Alive{AsOf: time.Now()})
			}
			remote.report(Changed{ID: testID, Revision: uint64(i + 1)})
		}
		end := time.Now()
		close(stall)
		step := 100 * staleness / 4
		require.Equal(t, []Event{
			Gap{},
			Gap{},
			Alive{AsOf: end.Add(-2 * step)},
			Changed{testID, 1},
			Alive{AsOf: end.Add(-step)},
			Changed{testID, 2},
			Alive{AsOf: end},
			Changed{testID, 3},
		}, slow.take())
		slow.stop()
		require.ErrorIs(t, <-slow.ended, context.Canceled)
	})
}

func TestHeartbeatsOfAWatch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		heartbeat time.Duration
		proofs    int // in 100 s; the subscription has 200
	}{
		"shorter than the subscription's": {time.Millisecond, 200},
		"the same":                        {staleness / 4, 200},
		"longer":                          {staleness, 67},
		"much longer":                     {20 * time.Second, 7},
	} {
		t.Run(name, func(t *testing.T) {
			inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
				o := observe(t, st, test.heartbeat, nil)
				remote.report(Gap{})
				o.take()
				for range 200 {
					time.Sleep(staleness / 4)
					remote.report(Alive{AsOf: time.Now()})
				}
				require.InDelta(t, test.proofs, len(o.take()), 1)
				remote.report(Gap{}, Alive{AsOf: time.Now()})
				require.Equal(t, []Event{Gap{}, Alive{AsOf: time.Now()}}, o.take(), "a proof follows a Gap at once")
				o.stop()
				require.ErrorIs(t, <-o.ended, context.Canceled)
			})
		})
	}
}

// TestProofThatIsNotBelievedIsNotPassedOn: watchers get no proofs that the local tier knows to be untrue.
func TestProofThatIsNotBelievedIsNotPassedOn(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		o := observe(t, st, time.Millisecond, nil)
		remote.report(Alive{AsOf: time.Now()}) // ahead of the first Gap
		remote.report(Gap{})
		remote.report(Alive{AsOf: time.Now().Add(time.Hour)}) // of the future
		require.Equal(t, []Event{Gap{}, Gap{}, Alive{AsOf: time.Now()}}, o.take())

		for range 3 {
			time.Sleep(10 * time.Second)
			require.NoError(t, st.Store(t.Context(), New(testID))) // is not reported
			time.Sleep(time.Millisecond)
			remote.report(Alive{AsOf: time.Now()})
			require.Empty(t, o.take())
			if ended, err := o.hasEnded(); ended {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				require.EqualError(t, err, "session: watch: unsupported operation: the remote, a *session.scriptedRemote, "+
					"has not reported writes, although it said that nothing was missing")
				return
			}
			time.Sleep(time.Second)
			remote.report(Gap{})
			require.Equal(t, []Event{Gap{}}, o.take())
		}
		t.Fatal("the remote is still believed")
	})
}

// hasEnded also returns with which error the watch has ended.
func (o *observer) hasEnded() (bool, error) {
	synctest.Wait()
	select {
	case err := <-o.ended:
		return true, err
	default:
		return false, nil
	}
}

func TestWatchWithoutAWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, remote := range []Storage{fourMethods{NewMemoryStorage(time.Hour)}, newStagedRemote(time.Hour)} {
			st := NewRoutingStorage(remote, 10)
			o := observe(t, st, time.Second, nil)
			ended, err := o.hasEnded()
			require.True(t, ended)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			require.Contains(t, err.Error(), fmt.Sprintf("the remote, a %T, ", remote))
			require.Panics(t, func() { _ = st.Watch(t.Context(), 0, nil) })
			require.NoError(t, st.Close())
			require.ErrorIs(t, <-observe(t, st, time.Second, nil).ended, ErrClosed)
		}
	})
}

func TestTTLIsTheRemotes(t *testing.T) {
	t.Parallel()
	memory := NewMemoryStorage(time.Hour)
	for want, remote := range map[time.Duration]Storage{time.Hour: memory, 0: fourMethods{memory}} {
		st := NewRoutingStorage(remote, 10)
		require.Equal(t, want, st.TTL())
		require.NoError(t, st.Close())
	}
}

// TestLocalTierIsNoRemote: a copy in the second tier could miss a change that the first one learns of late.
func TestLocalTierIsNoRemote(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(NewMemoryStorage(time.Hour), 10)
	defer func() { require.NoError(t, st.Close()) }()
	require.Panics(t, func() { NewRoutingStorage(st, 10) })
	require.Panics(t, func() { NewRoutingStorage(struct{ *RoutingStorage }{st}, 10) }, "one that is embedded")
}

// TestRoutingWatchOnRedis has many watchers on one of two replicas, and kills its subscription.
func TestRoutingWatchOnRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := func() *RoutingStorage {
		st := NewRoutingStorage(NewRedisStorage(server.Client(t), time.Hour), 100)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		return st
	}
	a, b := replica(), replica()
	admin := server.Client(t)
	const watchers = 20
	var all [watchers]chan Event
	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for i := range all {
		all[i] = make(chan Event, 100_000)
		watching.Go(func() { _ = b.Watch(ctx, time.Second, func(e Event) { all[i] <- e }) })
	}
	until := func(is func(Event) bool) { // each watcher is told
		for i := range all {
			for e := range all[i] {
				if is(e) {
					break
				}
			}
		}
	}
	alive := func(e Event) bool { _, ok := e.(Alive); return ok }
	gap := func(e Event) bool { return e == Gap{} }
	until(alive) // events flow
	require.Eventually(t, func() bool { return a.Stats().Mode == ModeLeased }, 10*time.Second, time.Millisecond)
	require.Equal(t, 2, int(admin.PubSubNumSub(t.Context(), "session:!events:0").Val()["session:!events:0"]))
	for range 2 {
		s := New(NewID())
		require.NoError(t, a.Store(t.Context(), s))
		until(func(e Event) bool { return e == Changed{ID: s.ID(), Revision: s.Revision()} })
		require.NoError(t, a.Delete(t.Context(), s.ID()))
		until(func(e Event) bool { removed, ok := e.(Removed); return ok && removed.ID == s.ID() })
		require.NoError(t, admin.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		until(gap)
		until(alive)
	}
	cancel()
	watching.Wait()
	require.Empty(t, b.events.watchers)
}

func TestFenceOverMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const s = 2 * time.Second
		m := NewMemoryStorage(time.Hour)
		a := NewRoutingStorage(m, 100, WithFencing(), WithMaxStaleness(s))
		defer a.Close()
		b := NewRoutingStorage(m, 100, WithFencing(), WithMaxStaleness(s))
		require.NoError(t, a.Fence(t.Context()))
		time.Sleep(2 * s)
		for range 1000 {
			require.NoError(t, a.Store(t.Context(), New(testID)))
			_, err := b.Load(t.Context(), testID)
			require.NoError(t, err)
			require.NoError(t, a.Delete(t.Context(), testID))
			start := time.Now()
			require.NoError(t, a.Fence(t.Context()))
			require.Zero(t, time.Since(start))
			_, err = b.Load(t.Context(), testID)
			require.ErrorIs(t, err, ErrNotFound)
		}

		// A holder that is stuck, and one that has closed.
		stuck, release := make(chan struct{}), make(chan struct{})
		holder := m.Hold(s)
		watched := later(func() error {
			return holder.Watch(t.Context(), s/4, func(e Event) {
				if _, ok := e.(Changed); ok {
					close(stuck)
					<-release
				}
			})
		})
		time.Sleep(s)
		require.NoError(t, a.Store(t.Context(), New(testID)))
		<-stuck
		start := time.Now()
		require.NoError(t, a.Fence(t.Context()))
		require.GreaterOrEqual(t, time.Since(start), s)
		close(release)
		synctest.Wait()
		start = time.Now()
		require.NoError(t, a.Fence(t.Context()))
		require.Zero(t, time.Since(start))
		require.NoError(t, b.Close())
		require.Len(t, m.holders, 2, "it has left")
		require.ErrorIs(t, b.Fence(t.Context()), ErrClosed)
		_ = watched
	})
}

// TestMarkersForAStuckWatcherAreBounded: fences go on while one holder is stuck, and it may be stuck for hours.
func TestMarkersForAStuckWatcherAreBounded(t *testing.T) {
	t.Parallel()
	var f feed
	w := f.join()
	arrived := 0
	for i := range 2 * maxMarkers {
		require.Equal(t, i < maxMarkers, w.mark(func() { arrived++ }))
	}
	for range 2 * maxBacklog {
		f.announce(Changed{ID: testID, Revision: 1})
	}
	require.LessOrEqual(t, len(w.backlog), maxBacklog+1)
	require.NoError(t, w.deliver(func(Event) {}))
	require.Equal(t, maxMarkers, arrived, "an overflow keeps them")
	require.True(t, w.mark(func() {}))
	w.leave()
	require.False(t, w.mark(func() {}))
}

func TestFencingIsRefused(t *testing.T) {
	t.Parallel()
	m := NewMemoryStorage(time.Hour)
	require.PanicsWithValue(t,
		"session: NewRoutingStorage: WithFencing: the remote, a struct { session.Storage }, is no Fencer",
		func() { NewRoutingStorage(struct{ Storage }{m}, 1, WithFencing()) })
	require.Panics(t, func() { NewRoutingStorage(m, 1, WithFencing(), WithStaleIfError(time.Second)) })
	st := NewRoutingStorage(m, 1)
	defer st.Close()
	err := st.Fence(t.Context())
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "WithFencing")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fenced := NewRoutingStorage(m, 1, WithFencing())
	defer fenced.Close()
	require.ErrorIs(t, fenced.Fence(ctx), context.Canceled)
}
