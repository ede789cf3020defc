package nearcache

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// told is what was told, in order.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (l *told) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// all returns the lines so far, of a bubble in which nothing happens at this instant.
func (l *told) all() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

// once returns different lines.
func (l *told) once() (lines []string) {
	for _, line := range l.all() {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (l *told) last() string {
	all := l.all()
	return all[len(all)-1]
}

func (l *told) ofRefreshes(_ *source, config *Config[state]) {
	config.RefreshChanged = func(works bool, err error) { l.add(fmt.Sprint(works, " ", err)) }
	config.RefreshFailed = func(err error) { l.add(err.Error()) }
}

// failing returns how many uses could not be told.
func (r *replica) failing() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refresh.failing
}

// ofNews is for news itself.
func (l *told) ofNews(works bool, _ error) { l.add(strconv.FormatBool(works)) }

// TestLastingNewsIsTold: what comes and goes within the pause is not told, and what has lasted is told once.
func TestLastingNewsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := newNews()
		var log told
		go n.announce(ctx, newsInterval, &condition{works: true}, log.ofNews)
		n.note(true, nil)
		time.Sleep(2 * newsInterval)
		n.note(false, errLink)
		time.Sleep(newsInterval / 2)
		n.note(true, nil)
		time.Sleep(2 * newsInterval)
		require.Empty(t, log.all())
		n.note(false, errLink)
		n.note(false, errLink)
		time.Sleep(time.Hour)
		n.note(true, nil)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"false", "true"}, log.all())
	})
}

// TestNewsIsLimitedInRate changes at several paces for an hour, and then no more.
func TestNewsIsLimitedInRate(t *testing.T) {
	t.Parallel()
	for _, pace := range []time.Duration{10 * time.Millisecond, 1100 * time.Millisecond, 7 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := newNews()
			var log told
			go n.announce(ctx, 0, nil, log.ofNews)
			works := true
			for range time.Hour / pace {
				works = !works
				n.note(works, errLink)
				time.Sleep(pace)
			}
			require.LessOrEqual(t, len(log.all()), newsBurst+1+int(time.Hour/newsRefill), "at %v", pace)
			require.GreaterOrEqual(t, len(log.all()), newsBurst, "at %v", pace)
			time.Sleep(newsRefill)
			require.Equal(t, strconv.FormatBool(works), log.last(), "the last state is told")
			time.Sleep(newsBurst * newsRefill)
			before := time.Now()
			n.note(!works, errLink)
			require.Equal(t, strconv.FormatBool(!works), log.last())
			require.Equal(t, before, time.Now(), "what is steady again is told at once")
		})
	}
}

func TestRefreshesThatFailAreTold(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]setting{
		"load":      func(*source, *Config[state]) {},
		"unchanged": revalidating,
	} {
		t.Run(name, func(t *testing.T) {
			var log told
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				defer src.flow(c)()
				c.storeAll(t, 2)
				src.fail(name, "request", errLink, 1000)
				time.Sleep(freshness)
				c.hitAll(t, 2)
				time.Sleep(time.Minute)
				require.True(t, c.Stats().Leased)
				require.Equal(t, []string{errLink.Error(), "false " + errLink.Error()}, log.once())
				require.Greater(t, len(log.all()), 20, "each failure")
				src.recover()
				time.Sleep(time.Minute)
				require.Equal(t, "true <nil>", log.last())
				require.Len(t, log.once(), 3)
			}, watched, by, log.ofRefreshes)
		})
	}
}

// TestForgottenValuesAreNoRecovery: the source could not be told of a use, until the value was over.
func TestForgottenValuesAreNoRecovery(t *testing.T) {
	var log told
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		c.storeAll(t, 1)
		src.fail("unchanged", "request", errLink, 10_000)
		time.Sleep(staleness / 2)
		c.hitAll(t, 1)
		time.Sleep(2 * ttl)
		synctest.Wait()
		require.Zero(t, c.failing())
		require.Equal(t, []string{errLink.Error(), "false " + errLink.Error()}, log.once())
		src.recover()
		c.storeAll(t, 1)
		time.Sleep(staleness / 2)
		c.hitAll(t, 1)
		time.Sleep(time.Minute)
		require.Equal(t, "true <nil>", log.last())
	}, revalidating, log.ofRefreshes)
}

// TestOneValueThatCannotBeRenewed: the others can, and that does not hide it.
func TestOneValueThatCannotBeRenewed(t *testing.T) {
	var log told
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		defer src.flow(c)()
		c.storeAll(t, 10)
		src.die(numbered(7))
		time.Sleep(freshness)
		for range 4 {
			c.hitAll(t, 10)
			for range 40 {
				time.Sleep(50 * time.Millisecond)
				synctest.Wait()
				require.False(t, c.refresh.works.works() && c.failing() > 0)
			}
			time.Sleep(freshness)
		}
		require.Equal(t, []string{errLink.Error(), "false " + errLink.Error()}, log.once())
	}, watched, revalidating, log.ofRefreshes)
}

// TestKeepingIsPartOfTheNews: values that are kept alive without a copy are told of with the others.
func TestKeepingIsPartOfTheNews(t *testing.T) {
	var log told
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		refresh := func() {
			c.storeAll(t, 1)
			time.Sleep(staleness / 2)
			c.hitAll(t, 1)
			time.Sleep(time.Minute)
		}
		c.KeepWorks()
		refresh()
		require.Empty(t, log.all(), "it is no news that all works")
		c.KeepFails(errLink)
		c.KeepFails(errLink)
		refresh()
		require.Equal(t, []string{"false " + errLink.Error()}, log.all(), "not all is well")
		c.KeepEnds()
		time.Sleep(time.Minute)
		require.Len(t, log.all(), 1, "that is no proof")
		refresh()
		require.Equal(t, []string{"false " + errLink.Error(), "true <nil>"}, log.all())
		c.KeepFails(errLink)
		time.Sleep(time.Minute)
		c.KeepWorks()
		time.Sleep(time.Minute)
		require.Equal(t, "true <nil>", log.last())
		require.Len(t, log.all(), 4)
	}, revalidating, log.ofRefreshes)
}

func TestAwayIsToldFromMissingReports(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.False(t, c.Stats().Away, "nothing is known")
		src.put(testID, "v")
		c.get(t)
		src.fail("load", "request", errLink, 1)
		time.Sleep(staleness)
		require.ErrorIs(t, c.err(t), errLink)
		require.True(t, c.Stats().Away)
		time.Sleep(time.Millisecond)
		c.get(t)
		require.False(t, c.Stats().Away, "answered since")

		for range 2 { // the first one was begun before the answer
			src.report(brokenOff)
		}
		time.Sleep(time.Second)
		require.True(t, c.Stats().Away, "no load is needed for that")
		time.Sleep(staleness)
		c.get(t)
		require.False(t, c.Stats().Away, "no reports, but all else works")
		src.report(gap, alive(time.Now()))
		require.False(t, c.Stats().Away)
	}, watched, func(_ *source, config *Config[state]) { config.Away = func(error) bool { return true } })
}
