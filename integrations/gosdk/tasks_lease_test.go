package gosdk

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestTaskOfADeadRunnerFails(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("work", `{"seconds":600}`)
		time.Sleep(45 * time.Second)
		require.Equal(t, taskWorking, b.status(id))
		a.cable.cut.Store(true)
		died := time.Now()
		res := b.await(id, taskWorking)
		require.Equal(t, taskFailed, res.Status)
		require.Equal(t, errRunnerDied, res.Error)
		require.Less(t, time.Since(died), 2*30*time.Second+time.Second)

		// It was only cut off. It learns so with its next renewal, and cannot change the end of the task.
		a.cable.cut.Store(false)
		time.Sleep(11 * time.Second)
		require.ErrorIs(t, a.cause(), ErrTaskEnded)
		require.Equal(t, taskFailed, a.status(id))
		require.EqualValues(t, 0, b.calls.Load())
	})
}

func TestTaskIsTakenOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("restartable", `{"seconds":100}`)
		a.cable.cut.Store(true)
		requireSaid(t, "b", b.await(id, taskWorking))
		require.EqualValues(t, 1, b.calls.Load())
		a.cable.cut.Store(false)
		time.Sleep(10 * time.Minute)
		requireSaid(t, "b", a.get(id))
	})
}

// The runner is paused right before its handler returns, and goes on when another one has the task.
func TestPausedRunnerCannotWrite(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("restartable", `{"seconds":100,"stubborn":true}`)
		a.cable.cut.Store(true)
		time.Sleep(time.Second)
		require.Equal(t, taskWorking, b.status(id))
		time.Sleep(31 * time.Second)
		require.EqualValues(t, 1, b.calls.Load(), "taken over, without another question of the client")
		a.cable.cut.Store(false)
		time.Sleep(69 * time.Second)
		require.Equal(t, taskWorking, b.status(id), "a has returned by now")
		requireSaid(t, "b", b.await(id, taskWorking))
	})
}

// A runner whose renewals come in time keeps its task, however often others are asked for it.
func TestLivingRunnerKeepsItsTask(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b, c := l.start("a"), l.start("b"), l.start("c")
		id := a.begin("restartable", `{"seconds":400}`)
		for i := range 399 {
			time.Sleep(time.Second)
			// Outages of 19 s, during which one renewal is lost, and the next one comes late.
			a.cable.cut.Store(i%60 > 40)
			require.Equal(t, taskWorking, b.status(id), i)
			require.Equal(t, taskWorking, c.status(id), i)
		}
		a.cable.cut.Store(false)
		requireSaid(t, "a", b.await(id, taskWorking))
		require.EqualValues(t, 1, a.calls.Load())
		require.EqualValues(t, 0, b.calls.Load()+c.calls.Load())
	})
}

// An observer that cannot ask the storage knows nothing, and must not count that time.
func TestObserverThatWasCutOff(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("restartable", `{"seconds":200}`)
		require.Equal(t, taskWorking, b.status(id))
		for range 100 {
			b.cable.cut.Store(!b.cable.cut.Load())
			time.Sleep(time.Second)
			_ = b.status(id)
		}
		requireSaid(t, "a", a.await(id, taskWorking))
		require.EqualValues(t, 0, b.calls.Load())
	})
}

// What kills its runners must not kill all replicas.
func TestTaskThatLosesItsRunners(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		first := l.start("0")
		id := first.begin("restartable", `{"seconds":600}`)
		replicas := []*labReplica{first, l.start("1"), l.start("2"), l.start("3")}
		for i := range maxLost {
			replicas[i].cable.cut.Store(true)
			require.Equal(t, taskWorking, replicas[i+1].status(id))
			time.Sleep(31 * time.Second)
		}
		res := replicas[maxLost].get(id)
		require.Equal(t, taskFailed, res.Status)
		require.Equal(t, errRunnerDied, res.Error)
		require.EqualValues(t, 0, replicas[maxLost].calls.Load())
	})
}

// Of many replicas that find a runner dead at the same time, one takes over.
func TestOnlyOneTakesOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a := l.start("a")
		id := a.begin("restartable", `{"seconds":100}`)
		a.cable.cut.Store(true)
		var others []*labReplica
		for _, name := range []string{"b", "c", "d", "e"} {
			others = append(others, l.start(name))
			require.Equal(t, taskWorking, others[len(others)-1].status(id))
		}
		time.Sleep(31 * time.Second)
		var calls int64
		for _, r := range others {
			calls += r.calls.Load()
		}
		require.EqualValues(t, 1, calls)
	})
}

func TestCloseHandsOver(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		restartable, work := a.begin("restartable", `{"seconds":60}`), a.begin("work", `{"seconds":60}`)
		stubborn := a.begin("work", `{"seconds":15,"stubborn":true}`)
		quick := a.begin("work", `{"seconds":5}`)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		require.ErrorIs(t, a.tasks.Close(ctx), context.DeadlineExceeded)
		require.Equal(t, 15*time.Second, time.Since(begin), "it waits for the one that ignores its context")
		require.ErrorIs(t, a.cause(), ErrTasksClosed)

		requireSaid(t, "a", b.get(quick))
		requireSaid(t, "a", b.get(stubborn))
		res := b.get(work)
		require.Equal(t, taskFailed, res.Status)
		require.Equal(t, errRunnerClosed, res.Error)
		require.Equal(t, taskWorking, a.status(restartable), "answered, but not claimed")
		require.Equal(t, taskWorking, b.status(restartable))
		synctest.Wait()
		require.EqualValues(t, 1, b.calls.Load(), "claimed at once")
		requireSaid(t, "b", b.await(restartable, taskWorking))

		_, err := a.call("work", `{"seconds":1}`)
		require.ErrorIs(t, err, errBusy)
		require.NoError(t, a.tasks.Close(t.Context()), "again")
	})
}

func TestCloseWaits(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("work", `{"seconds":60}`)
		other := b.begin("work", `{"seconds":100}`)
		begin := time.Now()
		time.Sleep(59 * time.Second)
		require.Equal(t, taskWorking, a.status(other), "a looks at it again, later")
		require.NoError(t, a.tasks.Close(t.Context()))
		require.Equal(t, time.Minute, time.Since(begin))
		requireSaid(t, "a", b.get(id))
	})
}

func TestTasksEndWithTheirTTL(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		// No renewal of a lease finds out in this time that the task is over.
		a, b := l.start("a", WithTaskTTL(time.Minute), WithLease(time.Hour)), l.start("b", WithLease(time.Hour))
		early := a.begin("work", `{"seconds":1}`)
		long := a.begin("work", `{"seconds":600}`)
		time.Sleep(time.Minute - time.Millisecond)
		requireSaid(t, "a", b.get(early))
		require.EqualValues(t, 60_000, b.get(long).TTLMs, "as it was created, not as b would have it")
		time.Sleep(2 * time.Millisecond)
		for _, id := range []string{early, long} {
			_, err := b.send("alice", methodGetTask, id, "")
			require.ErrorIs(t, err, errUnknownTask)
		}
		synctest.Wait()
		require.ErrorIs(t, a.cause(), ErrTaskEnded)
	})
}

// unwatched is a storage without events.
type unwatched struct{ session.Storage }

func TestCancelReachesTheRunner(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		within time.Duration
		via    func(r *cable) session.Storage
	}{
		"events": {time.Millisecond, func(c *cable) session.Storage { return c }},
		"beats":  {10*time.Second + time.Millisecond, func(c *cable) session.Storage { return unwatched{c} }},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				l.via = test.via
				a, b := l.start("a"), l.start("b")
				id := a.begin("restartable", `{"seconds":600}`)
				time.Sleep(5 * time.Minute)
				_, err := b.send("alice", methodCancelTask, id, "")
				require.NoError(t, err)
				require.Equal(t, taskCancelled, b.status(id), "at once")
				time.Sleep(test.within)
				require.ErrorIs(t, a.cause(), ErrTaskEnded)
				_, err = b.send("alice", methodCancelTask, id, "")
				require.NoError(t, err, "again")
				require.Equal(t, taskCancelled, a.status(id))
			})
		})
	}
}

// A handler that succeeds although it was cancelled cannot change that.
func TestCancelledStaysCancelled(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		a, b := l.start("a"), l.start("b")
		id := a.begin("work", `{"seconds":60,"stubborn":true}`)
		_, err := b.send("alice", methodCancelTask, id, "")
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		require.Equal(t, taskCancelled, b.status(id))
		done := a.begin("work", `{"seconds":1}`)
		requireSaid(t, "a", a.await(done, taskWorking))
		_, err = b.send("alice", methodCancelTask, done, "")
		require.NoError(t, err)
		requireSaid(t, "a", a.get(done))
	})
}

// The storage is away when the handler returns.
func TestOutcomeIsKeptInAnOutage(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"unavailable": errCut, "not of this library": io.ErrUnexpectedEOF} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				a, b := l.start("a"), l.start("b")
				a.cable.cutAs = err
				id := a.begin("work", `{"seconds":60}`)
				time.Sleep(59 * time.Second)
				a.cable.cut.Store(true)
				time.Sleep(15 * time.Second)
				require.Equal(t, status(""), a.status(id))
				a.cable.cut.Store(false)
				time.Sleep(10 * time.Second)
				requireSaid(t, "a", b.get(id))
			})
		})
	}
}

// Replicas with a local tier that hear of no change tell a client the present state all the same.
func TestPresentStateBehindALocalTier(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		l.via = func(c *cable) session.Storage {
			tier := session.NewRoutingStorage(unwatched{c}, 100, session.WithMaxStaleness(time.Hour))
			t.Cleanup(func() { require.NoError(t, tier.Close()) })
			return tier
		}
		a, b := l.start("a"), l.start("b")
		id := a.begin("ask", `{}`)
		synctest.Wait()
		require.Equal(t, taskInputRequired, b.status(id))
		_, err := a.send("alice", methodUpdateTask, id, `{"1.name":{"action":"decline"}}`)
		require.NoError(t, err)
		require.NotContains(t, b.get(id).InputRequests, "1.name")
		_, err = b.send("alice", methodCancelTask, id, "")
		require.NoError(t, err)
		require.Equal(t, taskCancelled, a.status(id))
	})
}
