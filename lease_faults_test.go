package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// changes makes a session go through steps, each a write or a removal, and returns their events. The last is a write.
func (r *scriptedRemote) changes(t *testing.T, rng *rand.Rand, steps int, after func(step int)) []Event {
	t.Helper()
	var events []Event
	for step := range steps {
		if step > 0 && step < steps-1 && rng.IntN(4) == 0 {
			require.NoError(t, r.MemoryStorage.Delete(t.Context(), testID))
			events = append(events, Removed{ID: testID})
		} else {
			s := New(testID).With("v", strconv.Itoa(step))
			require.NoError(t, r.MemoryStorage.Store(t.Context(), s))
			events = append(events, Changed{ID: testID, Revision: s.Revision()})
		}
		after(step)
	}
	return events
}

// scramble returns the numbers of all events twice, in any order, and -1 for a reconnect in between.
func scramble(rng *rand.Rand, events int) []int {
	order := []int{-1}
	for i := range events {
		order = append(order, i, i)
	}
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func (r *scriptedRemote) reportScrambled(rng *rand.Rand, events []Event, after func(newest int)) {
	newest := -1
	for _, i := range scramble(rng, len(events)) {
		if i < 0 {
			r.report(Gap{}, Alive{AsOf: time.Now()})
		} else {
			r.report(events[i])
		}
		newest = max(newest, i)
		after(newest)
	}
}

const scrambles, steps = 300, 6

func TestEventsDuplicatedAndReorderedAcrossAReconnect(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		for seed := range uint64(scrambles) {
			rng := rand.New(rand.NewPCG(seed, 0))
			remote.report(Removed{ID: testID}, Gap{}, Alive{AsOf: time.Now()})
			cached := rng.IntN(steps) // no event is there yet: what is cached then stays
			events := remote.changes(t, rng, steps, func(step int) {
				if step == cached {
					loadNow(t.Context(), st)
				}
			})
			remote.reportScrambled(rng, events, func(newest int) {
				if newest < 0 {
					return
				}
				step, err := strconv.Atoi(loadNow(t.Context(), st).value)
				require.NoError(t, err, "seed %d: removed, and written again since", seed)
				require.GreaterOrEqual(t, step, newest, "seed %d", seed)
			})
			require.Equal(t, ModeLeased, st.Stats().Mode)
		}
	})
}

func TestEventsReorderedWhileALoadIsUnderWay(t *testing.T) {
	inScriptedBubble(t, func(t *testing.T, remote *scriptedRemote, st *RoutingStorage) {
		for seed := range uint64(scrambles) {
			rng := rand.New(rand.NewPCG(seed, 1))
			remote.report(Removed{ID: testID}, Gap{}, Alive{AsOf: time.Now()})
			var release func()
			var loaded <-chan outcome
			read := rng.IntN(steps)
			events := remote.changes(t, rng, steps, func(step int) {
				if step == read {
					release = remote.hold("load", "reply")
					loaded = loadLater(t.Context(), st)
					synctest.Wait()
				}
			})
			remote.reportScrambled(rng, events, func(int) {})
			release()
			<-loaded
			require.Equal(t, strconv.Itoa(steps-1), loadNow(t.Context(), st).value, "seed %d", seed)
		}
	})
}

// stallingWatcher delivers nothing for a while.
type stallingWatcher struct {
	*MemoryStorage
	from, until time.Time
}

func (w stallingWatcher) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	return w.MemoryStorage.Watch(ctx, heartbeat, func(e Event) {
		if !time.Now().Before(w.from) {
			time.Sleep(time.Until(w.until))
		}
		fn(e)
	})
}

func TestStalledCallback(t *testing.T) {
	t.Parallel()
	for _, writes := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Hour} {
		t.Run(fmt.Sprint("a write every ", writes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testStalledCallback(t, writes) })
		})
	}
}

func testStalledCallback(t *testing.T, interval time.Duration) {
	const bound = 2 * time.Second
	memory := NewMemoryStorage(time.Hour)
	start := time.Now()
	stalled, resumed := 5*time.Second+10*time.Millisecond, 11*time.Second
	st := NewRoutingStorage(stallingWatcher{memory, start.Add(stalled), start.Add(resumed)}, 10, WithMaxStaleness(bound))
	defer func() { require.NoError(t, st.Close()) }()

	for range 15_000 {
		at := time.Since(start)
		if at%interval == 0 {
			s := New(testID).With("v", strconv.Itoa(int(at/interval)))
			require.NoError(t, memory.Store(t.Context(), s))
		}
		version, err := strconv.Atoi(loadNow(t.Context(), st).value)
		require.NoError(t, err)
		if required := int((at - bound) / interval); at >= bound {
			require.GreaterOrEqual(t, version, required, "after %v", at)
		}
		switch at {
		case stalled + bound, resumed - 1:
			require.Equal(t, ModeBoundedAge, st.Stats().Mode)
		case stalled - time.Millisecond, resumed + bound/4:
			require.Equal(t, ModeLeased, st.Stats().Mode)
		}
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, ModeLeased, st.Stats().Mode)
}
