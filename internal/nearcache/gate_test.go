package nearcache

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// loadsLater starts n loads of different values.
func (c *replica) loadsLater(ctx context.Context, n int) (outcomes []<-chan outcome) {
	for i := range n {
		done := make(chan outcome, 1)
		go func() { done <- c.load(ctx, numbered(i)) }()
		outcomes = append(outcomes, done)
	}
	return outcomes
}

// hang keeps the source from answering until it recovers. Its calls end with their contexts.
func (s *source) hang() {
	for range 1000 {
		s.holdUntilDone("load", "request")
	}
}

func TestLoadsAtATimeAreLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		var releases []func()
		for i := range 10 {
			src.put(numbered(i), "v")
			releases = append(releases, src.hold("load", "request"))
		}
		loads := c.loadsLater(t.Context(), 10)
		synctest.Wait()
		require.Equal(t, 3, src.loadCount())
		require.EqualValues(t, 7, c.Stats().Queued)
		for _, release := range releases {
			release()
			synctest.Wait()
		}
		for _, load := range loads {
			require.Equal(t, outcome{v: "v"}, <-load)
		}
		require.Equal(t, 3, src.mostLoads)
		require.Zero(t, c.Stats().Rejected)
	}, loadConcurrency(3))
}

func TestLoadThatNoCallerWaitsForIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "request")
		sent := c.loadLater(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		for _, load := range c.loadsLater(ctx, 100) {
			require.ErrorIs(t, (<-load).err, context.DeadlineExceeded)
		}
		synctest.Wait()
		require.Zero(t, c.gate.waiting.Len())
		require.Equal(t, 1, c.flights.len())
		release()
		<-sent
		synctest.Wait()
		require.Equal(t, 1, src.loadCount())
	}, loadConcurrency(1))
}

func TestLoadWhoseTurnDoesNotComeFails(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "request") // and ignores its context: its place stays taken
		defer release()
		sent := c.loadLater(t.Context())
		synctest.Wait()
		src.events <- func(to Sink) error { // another call is answered meanwhile: this is no outage
			time.Sleep(time.Second)
			to.Gap()
			to.Alive(time.Now())
			return nil
		}
		_, err := c.Fetch(t.Context(), numbered(0))
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorIs(t, (<-sent).err, ErrTimeout)
		require.EqualValues(t, 1, c.Stats().Rejected)
		require.False(t, c.Stats().Outage)
	}, watched, loadConcurrency(1))
}

func TestFlightEndsWithItsLastWaiter(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.holdUntilDone("load", "request")
		ctx, cancel := context.WithCancel(t.Context())
		first, second := c.loadLater(ctx), c.loadLater(t.Context())
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		synctest.Wait()
		require.Equal(t, 1, c.calls.len(), "the second one still waits")
		src.releaseAll()
		require.ErrorIs(t, (<-second).err, errAbsent)

		src.holdUntilDone("load", "request")
		ctx, cancel = context.WithCancel(t.Context())
		only := c.loadLater(ctx)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, (<-only).err, context.Canceled)
		synctest.Wait()
		require.Zero(t, c.calls.len(), "the call's context has ended")
		require.False(t, c.Stats().Outage)
	})
}

// TestAnswerThatNoCallerWaitsForIsKept: a source that is slower than its callers are patient is not asked for ever.
func TestAnswerThatNoCallerWaitsForIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.put(testID, "v")
		release := src.hold("load", "reply")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.load(ctx, testID).err, context.DeadlineExceeded)
		release()
		synctest.Wait()
		require.NotNil(t, c.Hit(testID))
	})
}

func TestLoadsFailFastInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), "known", "v"))
		time.Sleep(time.Millisecond)
		src.hang()
		var waiting []<-chan outcome
		for range 10 {
			waiting = append(waiting, c.loadsLater(t.Context(), 100)...)
		}
		for _, load := range waiting {
			require.Error(t, (<-load).err, "they wait until one of them has waited in vain")
		}
		require.True(t, c.Stats().Outage)
		require.LessOrEqual(t, src.loadCount(), 20)

		sent, start, slow := src.loadCount(), time.Now(), 0
		const loads = 10_000
		for i := range loads {
			before := time.Now()
			require.Error(t, c.load(t.Context(), numbered(i)).err)
			if time.Since(before) > 0 {
				slow++
			}
			time.Sleep(time.Millisecond)
		}
		probes := src.loadCount() - sent
		require.Equal(t, probes, slow, "every other load fails at once")
		require.GreaterOrEqual(t, probes, int(time.Since(start)/time.Second))
		require.LessOrEqual(t, probes, int(3*time.Since(start)/time.Second))

		src.recover()
		start = time.Now()
		src.put(testID, "v")
		for c.load(t.Context(), testID).err != nil {
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(start), time.Second)
		require.False(t, c.Stats().Outage)
	}, loadConcurrency(20))
}

func TestHitsGoOnInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.hang()
		require.ErrorIs(t, c.load(t.Context(), numbered(0)).err, context.DeadlineExceeded)
		require.NoError(t, c.store(t.Context(), testID, "v"))
		require.NotNil(t, c.Hit(testID))
		require.False(t, c.Stats().Outage, "the store was answered")
	})
}

func TestOneValueThatIsSlowIsNoOutage(t *testing.T) {
	t.Parallel()
	for name, sign := range map[string]func(t *testing.T, src *source, c *replica){
		"another load": func(t *testing.T, _ *source, c *replica) {
			require.ErrorIs(t, c.load(t.Context(), numbered(1)).err, errAbsent)
		},
		"a write": func(t *testing.T, _ *source, c *replica) {
			require.NoError(t, c.store(t.Context(), numbered(1), "v"))
		},
		"a proof": func(_ *testing.T, src *source, _ *replica) { src.report(gap, alive(time.Now())) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, src *source, c *replica) {
				src.holdUntilDone("load", "request")
				slow := c.loadLater(t.Context())
				time.Sleep(time.Millisecond)
				sign(t, src, c)
				require.ErrorIs(t, (<-slow).err, context.DeadlineExceeded)
				require.False(t, c.Stats().Outage)
			}, watched)
		})
	}
}

func TestLateProofDoesNotEndAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		sentBefore := time.Now()
		time.Sleep(time.Millisecond)
		src.hang()
		require.ErrorIs(t, c.load(t.Context(), testID).err, context.DeadlineExceeded)
		src.report(gap, alive(sentBefore))
		require.True(t, c.Stats().Outage)
		src.report(alive(time.Now()))
		require.False(t, c.Stats().Outage)
	}, watched)
}

func TestQuickErrorsAreNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.fail("load", "request", errLink, 10)
		for i := range 10 {
			require.ErrorIs(t, c.load(t.Context(), numbered(i)).err, errLink)
		}
		require.Equal(t, 10, src.loadCount())
	})
}

// TestQuickErrorEndsAnOutage: a part of the source that refuses to answer does not keep the rest from being asked.
func TestQuickErrorEndsAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		time.Sleep(time.Millisecond)
		src.hang()
		require.ErrorIs(t, c.load(t.Context(), testID).err, context.DeadlineExceeded)
		require.True(t, c.Stats().Outage)
		src.recover()
		src.die(testID)
		time.Sleep(probePause)
		require.ErrorIs(t, c.load(t.Context(), testID).err, errLink)
		require.ErrorIs(t, c.load(t.Context(), numbered(1)).err, errAbsent)
	})
}

// TestSilentValueDoesNotProlongAnOutage: its use waits to be told all the time, and is not the only probe.
func TestSilentValueDoesNotProlongAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness / 2)
		c.get(t)
		src.silence(testID)
		time.Sleep(c.config.LoadTimeout + staleness)
		synctest.Wait()
		require.True(t, c.Stats().Outage)
		start := time.Now()
		for c.load(t.Context(), numbered(1)).err != errAbsent { //nolint:errorlint // as it is
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(start), time.Second)
	}, revalidating)
}

// TestProbeOutlivesItsCaller: the callers give up sooner than the source takes to answer, and learn all the same that
// it is back.
func TestProbeOutlivesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.hang()
		require.ErrorIs(t, c.load(t.Context(), testID).err, context.DeadlineExceeded)
		src.recover()
		for range 100 {
			src.put(testID, "v")
			release := src.hold("load", "reply")
			time.AfterFunc(100*time.Millisecond, release)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_ = c.load(ctx, testID)
			cancel()
		}
		require.False(t, c.Stats().Outage)
	})
}

func TestOutageIsForgottenAfterAQuietTime(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		src.hang()
		require.ErrorIs(t, c.load(t.Context(), testID).err, context.DeadlineExceeded)
		src.recover()
		time.Sleep(time.Minute)
		release := src.hold("load", "request")
		loads := c.loadsLater(t.Context(), 10)
		synctest.Wait()
		release()
		for _, load := range loads {
			require.ErrorIs(t, (<-load).err, errAbsent, "none of them fails because another one is the probe")
		}
	})
}

func TestPanicOfTheSourceIsContained(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		_, err := c.Fetch(t.Context(), testID)
		var contained *PanicError
		require.ErrorAs(t, err, &contained)
		require.Equal(t, "secret-id", contained.Value)
		require.NotContains(t, err.Error(), "secret-id")
		require.Contains(t, string(contained.Stack), "gate_test.go")

		require.NoError(t, c.store(t.Context(), testID, "v"))
		time.Sleep(staleness / 2)
		c.get(t)
		time.Sleep(staleness / 4)
		require.GreaterOrEqual(t, c.Stats().Panics, uint64(3), "of Load, Unchanged and Watch")
	}, func(_ *source, config *Config[state]) {
		config.Load = func(context.Context, string) (*state, uint64, error) { panic("secret-id") }
		config.Unchanged = func(context.Context, []Use) ([]bool, error) { panic("secret-id") }
		config.Watch = func(context.Context, time.Duration, Sink) error { panic("secret-id") }
		config.Unavailable = func(err error) bool { return !errors.Is(err, errAbsent) }
	})
}

func TestMemoryOfAFloodIsGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "request")
		for _, load := range append(c.loadsLater(t.Context(), 2*floodSize), c.loadLater(t.Context())) {
			require.Error(t, (<-load).err)
		}
		release()
		synctest.Wait()
		require.Nil(t, c.flights.byID)
		require.Zero(t, c.gate.waiting.Len())
	}, loadConcurrency(1))
}

// TestLoadSentLateIsNoOutage: it had to wait for its turn, and then had less time than answers take.
func TestLoadSentLateIsNoOutage(t *testing.T) {
	const answerTime = 300 * time.Millisecond
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		loads := c.loadsLater(t.Context(), 10)
		answered, late, busy := 0, 0, 0
		for _, load := range loads {
			switch o := <-load; {
			case errors.Is(o.err, errAbsent):
				answered++
			case errors.Is(o.err, context.DeadlineExceeded):
				late++
			case errors.Is(o.err, ErrBusy):
				busy++
			}
			require.False(t, c.Stats().Outage)
		}
		require.Equal(t, 3, answered)
		require.GreaterOrEqual(t, late, 1) // all times end at the same instant: others may be sent in it
		require.Equal(t, len(loads), answered+late+busy)
	}, loadConcurrency(1), loadTimeout(time.Second), func(s *source, config *Config[state]) {
		config.Load = func(ctx context.Context, id string) (*state, uint64, error) {
			select {
			case <-time.After(answerTime):
				return s.load(ctx, id)
			case <-ctx.Done():
				return nil, 0, ctx.Err()
			}
		}
	})
}

// TestCloseIsNoOutage: Close ends a call that has taken long, and the call notices before a load that waits for its
// turn does. The load is to learn of Close, and not of an outage.
func TestCloseIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, src *source, c *replica) {
		release := src.hold("load", "request")
		sent := c.loadLater(t.Context())
		synctest.Wait()
		waits := c.loadsLater(t.Context(), 1)
		time.Sleep(2 * slowFailure)
		c.mu.Lock()
		c.closed = true
		c.unansweredLocked(c.gate.heardAt+1, false)
		c.closed = false
		outage, waiting := c.gate.outage, c.gate.waiting.Len()
		c.mu.Unlock()
		require.False(t, outage)
		require.Equal(t, 1, waiting)
		release()
		require.ErrorIs(t, (<-sent).err, errAbsent)
		require.ErrorIs(t, (<-waits[0]).err, errAbsent)
	}, loadConcurrency(1))
}
