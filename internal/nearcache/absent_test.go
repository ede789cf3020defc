package nearcache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// requireAbsent loads testID, of which the source has no value, and expects it to be asked, or not.
func (c *replica) requireAbsent(t *testing.T, asked bool) {
	t.Helper()
	before := c.source.loadCount()
	err := c.err(t)
	if asked {
		require.ErrorIs(t, err, errAbsent)
		require.Equal(t, before+1, c.source.loadCount())
	} else {
		require.ErrorIs(t, err, ErrAbsent)
		require.Equal(t, before, c.source.loadCount())
	}
}

// TestUnknownIDIsAskedForOnce per bound: the rule is that of copies.
func TestUnknownIDIsAskedForOnce(t *testing.T) {
	t.Parallel()
	flow := func(src *source, c *replica) func() { return src.flow(c) }
	still := func(*source, *replica) func() { return func() {} }
	for name, test := range map[string]struct {
		flow   func(src *source, c *replica) func()
		set    []setting
		within time.Duration // 0: it is asked each time
	}{
		"young":                    {flow: still, within: staleness},
		"leased":                   {flow: flow, set: []setting{watched}, within: freshness},
		"leased, renewed within S": {flow: flow, set: []setting{watched, refreshAfter(time.Second)}, within: staleness},
		"fenced":                   {flow: flow, set: []setting{watched, leaseOnly}, within: freshness},
		"fenced, without a lease":  {flow: still, set: []setting{leaseOnly}},
		"nothing is remembered":    {flow: flow, set: []setting{watched, maxAbsent(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer test.flow(src, c)()
				for range 2 {
					began := time.Now()
					c.requireAbsent(t, true)
					for time.Since(began) < test.within-100*time.Millisecond {
						c.requireAbsent(t, false)
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(time.Until(began.Add(test.within - 1)))
					c.requireAbsent(t, test.within == 0)
					time.Sleep(time.Nanosecond)
				}
				require.Zero(t, c.Stats().Hits)
			}, append([]setting{maxAbsent(10)}, test.set...)...)
		})
	}
}

func TestLongUnknownIDIsRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		id := strings.Repeat("x", 4<<10)
		require.ErrorIs(t, c.load(t.Context(), id).err, errAbsent)
		require.ErrorIs(t, c.load(t.Context(), id).err, ErrAbsent)
		require.ErrorIs(t, c.load(t.Context(), id+"y").err, errAbsent)
	}, maxAbsent(10))
}

// TestChangeEndsAnAbsence: whatever says that there may be a value now.
func TestChangeEndsAnAbsence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(t *testing.T, src *source, c *replica)
	}{
		"an event": {func(_ *testing.T, src *source, c *replica) {
			src.report(changed(testID, src.put(testID, "v")))
		}},
		"a removal, and a lost event": {func(_ *testing.T, src *source, c *replica) {
			src.report(removed(testID))
			src.put(testID, "v")
		}},
		"an own write": {func(t *testing.T, _ *source, c *replica) {
			t.Helper()
			require.NoError(t, c.store(t.Context(), testID, "v"))
			c.dropAll()
		}},
		"an own write with a lost reply": {func(t *testing.T, src *source, c *replica) {
			t.Helper()
			src.fail("store", "reply", errLink, 1)
			require.ErrorIs(t, c.store(t.Context(), testID, "v"), errLink)
		}},
		"a fresh load that found it": {func(t *testing.T, src *source, c *replica) {
			t.Helper()
			src.put(testID, "v")
			_, err := c.FetchFresh(t.Context(), testID)
			require.NoError(t, err)
			c.dropAll()
		}},
		"a fresh load of a value that is too large": {func(t *testing.T, src *source, c *replica) {
			t.Helper()
			src.put(testID, strings.Repeat("x", 10<<10))
			_, err := c.FetchFresh(t.Context(), testID)
			require.NoError(t, err)
			src.put(testID, "v")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				c.requireAbsent(t, true)
				c.requireAbsent(t, false)
				require.Equal(t, 1, c.Stats().AbsentIDs)
				test.change(t, src, c)
				require.Zero(t, c.Stats().AbsentIDs)
				require.Equal(t, "v", c.get(t))
			}, watched, maxAbsent(10), maxBytes(64<<10))
		})
	}
}

// TestAnswerFromBeforeAChangeIsNotRemembered: no event will end what a load brings that was sent before.
func TestAnswerFromBeforeAChangeIsNotRemembered(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, src *source, c *replica){
		"an event": func(_ *testing.T, src *source, _ *replica) {
			src.report(changed(testID, src.put(testID, "v")))
		},
		"a removal, and a lost event": func(_ *testing.T, src *source, _ *replica) {
			src.report(removed(testID))
			src.put(testID, "v")
		},
		"an own write": func(t *testing.T, _ *source, c *replica) {
			t.Helper()
			require.NoError(t, c.store(t.Context(), testID, "v"))
			c.dropAll()
		},
		"an own write with a lost reply": func(t *testing.T, src *source, c *replica) {
			t.Helper()
			src.fail("store", "reply", errLink, 1)
			require.ErrorIs(t, c.store(t.Context(), testID, "v"), errLink)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				release := src.hold("load", "reply")
				began := c.loadLater(t.Context())
				synctest.Wait() // the source has answered
				change(t, src, c)
				release()
				require.ErrorIs(t, (<-began).err, errAbsent)
				require.Zero(t, c.Stats().AbsentIDs)
				require.Equal(t, "v", c.get(t))
			}, watched, maxAbsent(10))
		})
	}
}

func TestAbsenceFromBeforeAGapIsNotCovered(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		c.requireAbsent(t, true)
		src.put(testID, "v") // the event is lost
		src.report(gap, alive(time.Now()))
		time.Sleep(staleness)
		require.Equal(t, "v", c.get(t))
	}, watched, maxAbsent(10))
}

func TestAbsenceIsAsOldAsTheQuestion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set   []setting
		flows bool
	}{
		"its age":   {},
		"its epoch": {set: []setting{watched}, flows: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				if test.flows {
					defer src.flow(c)()
				}
				release := src.hold("load", "reply")
				began := c.loadLater(t.Context())
				synctest.Wait()
				src.put(testID, "v") // the source has answered: there is none
				if test.flows {
					src.report(gap, alive(time.Now()))
				}
				time.Sleep(staleness / 2)
				release()
				require.ErrorIs(t, (<-began).err, errAbsent)
				require.Equal(t, 1, c.Stats().AbsentIDs)
				time.Sleep(staleness / 2)
				require.Equal(t, "v", c.get(t))
			}, append(test.set, maxAbsent(10))...)
		})
	}
}

// TestOlderAnswerIsNotRemembered: a load that was sent later has found the value.
func TestOlderAnswerIsNotRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "reply")
		began := c.loadLater(t.Context())
		time.Sleep(staleness / 2)
		src.put(testID, "v")
		_, err := c.FetchFresh(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, "v", c.get(t))
		release()
		require.ErrorIs(t, (<-began).err, errAbsent)
		require.Equal(t, "v", c.get(t), "what was served is not followed by an older state")
	}, maxAbsent(10))
}

func TestAbsenceIsNoAnswerInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.requireAbsent(t, true)
		src.fail("load", "request", errLink, 100)
		c.requireAbsent(t, false)
		time.Sleep(staleness)
		require.ErrorIs(t, c.err(t), errLink)
		require.ErrorIs(t, c.err(t), errLink)
	}, maxAbsent(10), staleIfError(time.Hour))
}

// TestAbsencesAreBounded: a flood of unknown ids neither grows the memory nor takes a copy's place.
func TestAbsencesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		const most = 10
		c.storeAll(t, most)
		for range 3 {
			for i := range 100 {
				c.requireAbsent(t, i == 0 && c.Stats().AbsentIDs == 0) // asked for all the time, so it stays
				require.ErrorIs(t, c.load(t.Context(), numbered(1000+i)).err, errAbsent)
				require.LessOrEqual(t, c.Stats().AbsentIDs, most)
			}
		}
		c.hitAll(t, most)
		require.Zero(t, c.Stats().Evictions)
		c.Close()
		require.Zero(t, c.Stats().AbsentIDs)
	}, maxAbsent(10), maxEntries(10))
}

// TestTemporaryErrorIsNoAbsence: only the answer that there is no value is remembered.
func TestTemporaryErrorIsNoAbsence(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		src.fail("load", "reply", errLink, 1)
		require.ErrorIs(t, c.err(t), errLink)
		require.Equal(t, "v", c.get(t))
	}, maxAbsent(10))
}

// TestOtherAnswersAreNoAbsence, such as a value that cannot be read.
func TestOtherAnswersAreNoAbsence(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		for range 2 {
			require.ErrorIs(t, c.err(t), errAbsent)
			require.Zero(t, c.Stats().AbsentIDs)
		}
	}, maxAbsent(10), func(_ *source, config *Config[state]) {
		config.Absent = func(error) bool { return false }
	})
}

func TestAgingReachesAbsences(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.requireAbsent(t, true)
		c.Age(staleness - 1)
		c.requireAbsent(t, false)
		c.Age(1)
		c.requireAbsent(t, true)
	}, maxAbsent(10))
}
