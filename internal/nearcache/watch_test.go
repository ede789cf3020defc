package nearcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		event func(revision uint64) event
		loads int
	}{
		"own write comes back": {func(rev uint64) event { return changed(testID, rev) }, 0},
		"older, out of order":  {func(rev uint64) event { return changed(testID, rev-1) }, 0},
		"newer":                {func(rev uint64) event { return changed(testID, rev+1) }, 1},
		"removed":              {func(uint64) event { return removed(testID) }, 1},
		"another value":        {func(rev uint64) event { return changed("another", rev+1) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				require.NoError(t, c.store(t.Context(), testID, "v"))
				e := test.event(src.revisionOf(testID))
				src.report(gap, e, e)
				c.get(t)
				require.Equal(t, test.loads, src.loadCount())
				require.EqualValues(t, test.loads, c.Stats().Revoked)
				require.EqualValues(t, 2, c.Stats().Events)
			}, watched)
		})
	}
}

func TestProofAheadOfTheGapIsNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now()))
		require.NoError(t, c.store(t.Context(), testID, "old"))
		src.report(brokenOff)
		src.put(testID, "new") // the event is lost
		time.Sleep(staleness)
		src.report(alive(time.Now())) // by a Watch that has forgotten its Gap
		require.Equal(t, "new", c.get(t))
	}, watched)
}

func TestProofOfTheFutureIsNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.report(gap, alive(time.Now().Add(time.Hour)))
		require.True(t, c.Stats().Leased)
		time.Sleep(staleness)
		require.False(t, c.Stats().Leased)
	}, watched)
}

func TestWatchingIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		start := time.Now()
		for range 10 {
			src.report(brokenOff) // blocks until the next Watch
		}
		// The pauses before: 0, 0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1, 1 s, at least a half of each.
		require.Greater(t, time.Since(start), 6500*time.Millisecond/2)
		require.Less(t, time.Since(start), 6501*time.Millisecond)
		require.False(t, c.Stats().Leased)
		src.report(gap, alive(time.Now()))
		require.True(t, c.Stats().Leased)

		src.report(brokenOff)
		start = time.Now()
		src.report(gap)
		require.LessOrEqual(t, time.Since(start), minWatchPause, "the pauses start over after a watch that worked")
	}, watched)
}

func TestWatchChangedIsCalledOncePerChange(t *testing.T) {
	type call struct {
		flows bool
		err   error
	}
	var calls []call
	inBubble(t, func(t *testing.T, src *source, _ *replica) {
		for range 2 {
			for range 5 {
				src.report(brokenOff)
			}
			time.Sleep(newsInterval)
			for range 5 {
				src.report(gap, alive(time.Now()))
			}
			time.Sleep(newsInterval)
		}
		require.Equal(t, []call{{false, errLink}, {true, nil}, {false, errLink}, {true, nil}}, calls)
	}, watched, func(_ *source, config *Config[state]) {
		config.WatchChanged = func(flows bool, err error) { calls = append(calls, call{flows, err}) }
	})
}

// TestLateProofsAreTold has a watcher that goes on, and proves nothing for a while.
func TestLateProofsAreTold(t *testing.T) {
	var log told
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		time.Sleep(time.Minute)
		require.Equal(t, []string{"false " + errLate.Error()}, log.all(), "it has not begun")
		src.report(gap, alive(time.Now()))
		time.Sleep(2*staleness - 2)
		require.False(t, c.Stats().Leased)
		require.Equal(t, "true <nil>", log.last(), "not yet")
		src.report(alive(time.Now()))
		time.Sleep(time.Minute)
		require.Equal(t, "false "+errLate.Error(), log.last())
		src.report(alive(time.Now()))
		require.Equal(t, "true <nil>", log.last())
		require.Len(t, log.all(), 4)
	}, watched, func(_ *source, config *Config[state]) {
		config.WatchChanged = func(flows bool, err error) { log.add(fmt.Sprint(flows, " ", err)) }
	})
}

// TestFlappingWatchDoesNotFloodTheLog: what is announced is true when it is announced, and at most once a second.
func TestFlappingWatchDoesNotFloodTheLog(t *testing.T) {
	calls := 0
	var c *replica
	inBubble(t, func(t *testing.T, src *source, replica *replica) {
		c = replica
		for range 100 {
			src.report(gap, alive(time.Now()), brokenOff)
		}
		require.LessOrEqual(t, calls, 1+int(time.Since(c.clock.start)/newsInterval))
	}, watched, func(_ *source, config *Config[state]) {
		config.WatchChanged = func(flows bool, _ error) {
			calls++
			if c != nil {
				require.Equal(t, c.watch.flows.works(), flows)
			}
		}
	})
}

func TestWatcherThatCannotWatch(t *testing.T) {
	watches := 0
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "old")
		require.Equal(t, "old", c.get(t))
		src.put(testID, "new")
		time.Sleep(staleness)
		require.Equal(t, "new", c.get(t))
		require.False(t, c.Stats().Leased)
		require.Negative(t, c.Stats().ProofAge)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, watches)
	}, func(_ *source, config *Config[state]) {
		config.Watch = func(context.Context, time.Duration, Sink) error {
			watches++
			return errors.ErrUnsupported
		}
	})
}

func TestGapCausesNoBurst(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		c.storeAll(t, 100)
		time.Sleep(staleness)
		src.report(gap)
		time.Sleep(10 * staleness)
		require.Zero(t, src.loadCount())
		for range 10 {
			c.getID(t, numbered(7))
		}
		require.Equal(t, 1, src.loadCount(), "only the value that is asked for is fetched")
	}, watched)
}

const scrambles, steps = 300, 6

func TestEventsReorderedAcrossAReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		for seed := range uint64(scrambles) {
			rng := rand.New(rand.NewPCG(seed, 0))
			src.report(removed(testID), gap, alive(time.Now()))
			cached := rng.IntN(steps) // no event is there yet: what is cached then stays
			events := src.changes(rng, func(step int) {
				if step == cached {
					c.load(t.Context(), testID)
				}
			})
			src.reportScrambled(rng, events, func(newest int) {
				if newest < 0 {
					return
				}
				step, err := strconv.Atoi(c.load(t.Context(), testID).v)
				require.NoError(t, err, "seed %d: removed, and written again since", seed)
				require.GreaterOrEqual(t, step, newest, "seed %d", seed)
			})
			require.True(t, c.Stats().Leased)
		}
	}, watched)
}

func TestEventsReorderedDuringALoad(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		for seed := range uint64(scrambles) {
			rng := rand.New(rand.NewPCG(seed, 1))
			src.report(removed(testID), gap, alive(time.Now()))
			var release func()
			var loaded <-chan outcome
			read := rng.IntN(steps)
			events := src.changes(rng, func(step int) {
				if step == read {
					release = src.hold("load", "reply")
					loaded = c.loadLater(t.Context())
					synctest.Wait()
				}
			})
			src.reportScrambled(rng, events, func(int) {})
			release()
			<-loaded
			require.Equal(t, strconv.Itoa(steps-1), c.get(t), "seed %d", seed)
		}
	}, watched)
}

// changes makes a value go through steps, each a write or a removal, and returns their events. The last is a write.
func (s *source) changes(rng *rand.Rand, after func(step int)) []event {
	var events []event
	for step := range steps {
		if step > 0 && step < steps-1 && rng.IntN(4) == 0 {
			s.drop(testID)
			events = append(events, removed(testID))
		} else {
			events = append(events, changed(testID, s.put(testID, strconv.Itoa(step))))
		}
		after(step)
	}
	return events
}

// reportScrambled reports each event twice, in any order, and a reconnect in between.
func (s *source) reportScrambled(rng *rand.Rand, events []event, after func(newest int)) {
	newest := -1
	for _, i := range scramble(rng, len(events)) {
		if i < 0 {
			s.report(gap, alive(time.Now()))
		} else {
			s.report(events[i])
		}
		newest = max(newest, i)
		after(newest)
	}
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
