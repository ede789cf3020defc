package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// stage is a keeper whose storage is a MemoryStorage, and whose events come from the test.
type stage struct {
	*keeper
	storage *MemoryStorage
	events  chan Event
	looks   atomic.Int64
	watches atomic.Int64
}

func newStage(t *testing.T, change func(s *stage, ask *keepable)) *stage {
	t.Helper()
	s := &stage{storage: NewMemoryStorage(keepTTL), events: make(chan Event)}
	ask := keepableOf(s.storage)
	look := ask.look
	ask.look = func(ctx context.Context, id string) (*Session, error) {
		s.looks.Add(1)
		return look(ctx, id)
	}
	ask.watch = func(ctx context.Context, _ time.Duration, fn func(Event)) error {
		s.watches.Add(1)
		for {
			select {
			case e := <-s.events:
				if e == nil {
					return ErrUnavailable
				}
				fn(e)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if change != nil {
		change(s, &ask)
	}
	s.keeper = new(keeper).of(func() keepable { return ask })
	require.NoError(t, s.storage.Store(t.Context(), New(testID)))
	return s
}

func (s *stage) join(t *testing.T) (ctx context.Context, leave func()) {
	ctx, end := context.WithCancelCause(t.Context())
	return ctx, s.keep(ctx, testID, end)
}

func (s *stage) send(e Event) {
	s.events <- e
	synctest.Wait()
}

func TestKeeperAsksForAllAfterAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		ctx, leave := s.join(t)
		defer leave()
		s.send(Gap{})
		require.NoError(t, s.storage.Delete(t.Context(), testID)) // of which no event tells
		time.Sleep(time.Minute)
		requireGoesOn(t, ctx)
		s.send(Gap{})
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
	})
}

// TestKeeperBelievesNoOldEvent has events that were on their way when the session was loaded.
func TestKeeperBelievesNoOldEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		stored, err := s.storage.Peek(t.Context(), testID)
		require.NoError(t, err)
		ctx, leave := s.join(t)
		defer leave()
		synctest.Wait()
		s.send(Removed{ID: testID, Revision: stored.Revision() - 1})
		s.send(Changed{ID: testID, Revision: stored.Revision() - 1})
		s.send(Changed{ID: testID, Revision: stored.Revision()})
		s.send(Removed{ID: "another", Revision: stored.Revision()})
		requireGoesOn(t, ctx)
		require.Zero(t, s.looks.Load())
		s.send(Removed{ID: testID}) // of which revision, it does not say
		requireGoesOn(t, ctx)
		require.EqualValues(t, 1, s.looks.Load())
		require.NoError(t, s.storage.Store(t.Context(), stored.WithExpiresAt(time.Now().Add(time.Minute))))
		s.send(Changed{ID: testID, Revision: stored.Revision() + 1})
		require.EqualValues(t, 2, s.looks.Load())
		s.send(Removed{ID: testID, Revision: stored.Revision() + 1_000_000})
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
	})
}

func TestKeeperWatchesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		ctx, leave := s.join(t)
		defer leave()
		s.send(nil)
		require.NoError(t, s.storage.Delete(t.Context(), testID))
		time.Sleep(time.Second)
		require.EqualValues(t, 2, s.watches.Load())
		s.send(Gap{})
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
	})
}

// TestKeeperBelievesNoOldAnswer has a session that is created again while a look is on its way that has not found it.
func TestKeeperBelievesNoOldAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		s := newStage(t, func(_ *stage, ask *keepable) {
			look := ask.look
			ask.look = func(ctx context.Context, id string) (*Session, error) {
				if err := <-answer; err != nil {
					return nil, err
				}
				return look(ctx, id)
			}
		})
		ctx, leave := s.join(t)
		defer leave()
		synctest.Wait()
		s.send(Removed{ID: testID})
		second, leaveSecond := s.join(t)
		defer leaveSecond()
		answer <- opErr("peek", ErrNotFound)
		answer <- nil
		requireGoesOn(t, ctx)
		requireGoesOn(t, second)
	})
}

// TestKeeperMissesNoEndDuringTheLoad deletes a session that was loaded, before the answer has arrived.
func TestKeeperMissesNoEndDuringTheLoad(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"reported": false, "before events flowed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, func(s *stage, ask *keepable) {
					ask.load = func(ctx context.Context, id string) (*Session, error) {
						loaded, err := s.storage.Load(ctx, id)
						_ = s.storage.Delete(ctx, id)
						if lost {
							s.events <- Gap{}
						} else {
							s.events <- Removed{ID: id, Revision: loaded.Revision()}
						}
						synctest.Wait()
						return loaded, err
					}
				})
				ctx, leave := s.join(t)
				defer leave()
				synctest.Wait()
				require.ErrorIs(t, context.Cause(ctx), ErrNotFound)
			})
		})
	}
}

// TestKeeperTellsAllCallers has an end of which no event has told, found by the load of a new caller.
func TestKeeperTellsAllCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		first, leave := s.join(t)
		defer leave()
		synctest.Wait()
		require.NoError(t, s.storage.Delete(t.Context(), testID))
		second, leaveSecond := s.join(t)
		defer leaveSecond()
		synctest.Wait()
		require.ErrorIs(t, context.Cause(second), ErrNotFound)
		require.ErrorIs(t, context.Cause(first), ErrNotFound)
	})
}

func TestKeeperContainsPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &panicking{MemoryStorage: NewMemoryStorage(keepTTL)}
		require.NoError(t, st.Store(t.Context(), New(testID)))
		st.panics.Store(true)
		ctx, stop := KeepAlive(t.Context(), st, testID)
		defer stop()
		requireGoesOn(t, ctx)
		st.panics.Store(false)
		time.Sleep(keepTTL / 2)
		requireGoesOn(t, ctx)
		st.panics.Store(true)
		time.Sleep(keepTTL / 2)
		requireGoesOn(t, ctx)
		st.panics.Store(false)
		time.Sleep(2 * keepTTL)
		requireGoesOn(t, ctx)
	})
}

// TestKeeperIsLeftWhileItAsks ends everything while a call of the storage hangs.
func TestKeeperIsLeftWhileItAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, func(_ *stage, ask *keepable) {
			ask.use = func(ctx context.Context, _ string) (*Session, error) {
				<-ctx.Done()
				return nil, errors.Join(ErrUnavailable, ctx.Err())
			}
		})
		_, leave := s.join(t)
		time.Sleep(keepTTL/4 + time.Second)
		leave()
		again, leaveAgain := s.join(t) // others begin while the old goroutines end
		time.Sleep(time.Second)
		requireGoesOn(t, again)
		start := time.Now()
		s.close()
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, context.Cause(again), ErrClosed)
		leaveAgain()
	})
}

type panicking struct {
	*MemoryStorage
	panics atomic.Bool
}

func (p *panicking) Load(ctx context.Context, id string) (*Session, error) {
	if p.panics.Load() {
		panic("a bug with " + id)
	}
	return p.MemoryStorage.Load(ctx, id)
}

// simple is a storage that leaves out what is not checked by the compiler.
type simple struct {
	Storage
	returnsNil bool
}

func (s simple) Load(ctx context.Context, id string) (*Session, error) {
	loaded, err := s.Storage.Load(ctx, id)
	if s.returnsNil {
		return nil, nil
	}
	return loaded.Detached(), err
}

func TestKeepAliveOnASimpleStorage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStorage(keepTTL)
		require.NoError(t, memory.Store(t.Context(), New(testID)))
		ctx, stop := KeepAlive(t.Context(), simple{Storage: memory}, testID)
		defer stop()
		time.Sleep(5 * keepTTL)
		requireGoesOn(t, ctx)
		require.NoError(t, memory.Delete(t.Context(), testID))
		time.Sleep(keepTTL)
		require.ErrorIs(t, context.Cause(ctx), ErrNotFound)

		ctx, stop = KeepAlive(t.Context(), simple{memory, true}, testID)
		defer stop()
		require.ErrorIs(t, context.Cause(ctx), ErrCorrupt)
	})
}
