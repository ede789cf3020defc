package live

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func TestObjectIsOpenedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: sleeper(time.Second)}
		o := setUp(t, st, w)
		things := make([]*thing, 100)
		var all sync.WaitGroup
		for i := range things {
			all.Go(func() { things[i] = use(t, o, "a") })
		}
		all.Wait()
		for _, th := range things {
			require.Same(t, things[0], th)
		}
		require.Same(t, things[0], use(t, o, "a"))
		require.NotSame(t, things[0], use(t, o, "b"))
		require.EqualValues(t, 2, w.opens.Load())
		require.Empty(t, w.ends())
	})
}

func TestErrorOfOpenIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		refused := errors.New("refused")
		result := refused
		w := &workshop{making: func(context.Context, *session.Session) error {
			time.Sleep(time.Second)
			return result
		}}
		o := setUp(t, st, w)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				ref, err := o.Get(t.Context(), "a")
				assert.Equal(t, refused, err, "as it is")
				assert.Nil(t, ref)
			})
		}
		all.Wait()
		require.EqualValues(t, 1, w.opens.Load())
		result = nil
		use(t, o, "a")
		require.Empty(t, w.ends())
	})
}

func TestCallerThatGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		ended := make(chan error, 1)
		w := &workshop{making: func(ctx context.Context, _ *session.Session) error {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
			case <-time.After(3 * time.Second):
			}
			return nil // even if it was given up
		}}
		o := setUp(t, st, w)

		var all sync.WaitGroup
		patience := func(id string, d time.Duration, want error) {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				ref, err := o.Get(ctx, id)
				assert.ErrorIs(t, err, want)
				if err == nil {
					ref.Release()
				}
			})
		}
		patience("a", time.Second, context.DeadlineExceeded)
		patience("a", time.Minute, nil)
		all.Wait()
		require.Empty(t, ended, "others wait for it")
		require.EqualValues(t, 1, w.opens.Load())

		patience("b", time.Second, context.DeadlineExceeded)
		patience("b", 2*time.Second, context.DeadlineExceeded)
		start := time.Now()
		all.Wait()
		synctest.Wait()
		require.Equal(t, 2*time.Second, time.Since(start))
		require.ErrorIs(t, <-ended, context.Canceled, "the last one ends it")
		require.Equal(t, []string{"b abandoned"}, w.ends())
		use(t, o, "b")
		require.EqualValues(t, 3, w.opens.Load())
	})
}

func TestOpenThatHeedsNoContext(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: func(context.Context, *session.Session) error {
			time.Sleep(time.Minute)
			return nil
		}}
		o := setUp(t, st, w, WithOpenTimeout(5*time.Second))
		for range 3 { // also those that would have to wait for the first call to return
			start := time.Now()
			_, err := o.Get(t.Context(), "a")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 5*time.Second, time.Since(start))
		}
		require.EqualValues(t, 1, w.opens.Load(), "one at a time")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"a abandoned"}, w.ends())
		w.making = nil
		use(t, o, "a")
	})
}

func TestOpenEndsItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		given := make(chan context.Context, 1)
		type key struct{}
		w := &workshop{making: func(ctx context.Context, _ *session.Session) error {
			given <- ctx
			return nil
		}}
		o := setUp(t, st, w, WithOpenTimeout(0))
		ref, err := o.Get(context.WithValue(t.Context(), key{}, "the caller's"), "a")
		require.NoError(t, err)
		defer ref.Release()
		opened := <-given
		require.Nil(t, opened.Value(key{}), "it is shared")
		deadline, _ := opened.Deadline()
		require.Equal(t, defaultOpenTimeout, time.Until(deadline))
		require.Error(t, opened.Err())
	})
}

func TestReleaseIsIdempotent(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, st, w)
		first, second := get(t, o, "a"), get(t, o, "a")
		first.Release()
		first.Release()
		first.Discard()
		require.NoError(t, st.Delete(t.Context(), "a"))
		synctest.Wait()
		require.Empty(t, w.ends(), "the second one uses it")
		require.Equal(t, Removed, second.Reason())
		second.Release()
		second.Release()
		require.Equal(t, []string{"a removed"}, w.ends())
	})
}

func TestDiscard(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, st, w)
		first, second := get(t, o, "a"), get(t, o, "a")
		require.Empty(t, second.Reason())
		first.Discard()
		require.True(t, isClosed(second.Done()))
		require.NotSame(t, second.Object, use(t, o, "a"))
		require.Empty(t, w.ends())
		second.Release()
		require.Equal(t, []string{"a discarded"}, w.ends())
		require.False(t, first.object.timer.Stop(), "nothing holds on to it")
	})
}

func TestSessionIsTheLoadedOne(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, st, w, WithSame(func(_, _ *session.Session) bool { return true }))
		first := get(t, o, "a")
		defer first.Release()
		update(t, st, "a", func(s *session.Session) *session.Session { return s.With("step", "2") })
		second := get(t, o, "a")
		defer second.Release()
		require.Same(t, first.Object, second.Object)
		step, _ := second.Session.Get("step")
		require.Equal(t, "2", step)
	})
}

func TestErrorsOfTheStorage(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		failing := &failing{Storage: st}
		w := new(workshop)
		o := setUp(t, failing, w)
		before := use(t, o, "a")

		for name, err := range map[string]error{
			"unavailable":              session.ErrUnavailable,
			"unavailable or not found": errors.Join(session.ErrNotFound, session.ErrUnavailable),
			"foreign":                  errors.New("foreign"),
			"corrupt":                  session.ErrCorrupt,
		} {
			failing.err = err
			_, got := o.Get(t.Context(), "a")
			require.Equal(t, err, got, "%s: as it is", name)
			require.Empty(t, w.ends(), name)
		}
		failing.err = nil
		require.Same(t, before, use(t, o, "a"), "an outage closes nothing")

		failing.answer = session.New("other")
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, session.ErrCorrupt)
		failing.answer = nil
		_, err = o.Get(t.Context(), "not a valid id")
		require.ErrorIs(t, err, session.ErrInvalidID)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = o.Get(ctx, "b")
		require.ErrorIs(t, err, context.Canceled)
		failing.answer = session.New("b") // from a cache, which does not look at the context
		_, err = o.Get(ctx, "b")
		require.ErrorIs(t, err, context.Canceled)
		require.EqualValues(t, 1, w.opens.Load())
		failing.answer = nil

		failing.err = session.ErrNotFound
		_, err = o.Get(t.Context(), "a")
		require.ErrorIs(t, err, session.ErrNotFound)
		synctest.Wait()
		require.Equal(t, []string{"a removed"}, w.ends(), "noticed without an event")
		requireLeft(t, o, 0, 0)
	})
}

// failing is a storage without capabilities, whose loads fail as a test wants.
type failing struct {
	session.Storage
	err    error
	answer *session.Session
}

func (f *failing) Load(ctx context.Context, id string) (*session.Session, error) {
	if f.err != nil || f.answer != nil {
		return f.answer, f.err
	}
	return f.Storage.Load(ctx, id)
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := New(st, w.open, w.close)
		use(t, o, "a")
		held := get(t, o, "b")
		w.making = sleeper(time.Second)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := o.Get(t.Context(), "c")
			assert.ErrorIs(t, err, ErrClosed)
		})
		synctest.Wait()

		start := time.Now()
		require.NoError(t, o.Close())
		require.NoError(t, o.Close())
		waiting.Wait()
		require.Zero(t, time.Since(start))
		require.Equal(t, []string{"a closed"}, w.ends())
		require.Equal(t, Closed, held.Reason())
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, ErrClosed)

		held.Release()
		require.Equal(t, []string{"b closed"}, w.ends(), "by the last user")
		requireLeft(t, o, 0, 0)
	})
}

func TestCloseWaits(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		var closes atomic.Int64
		o := New(st,
			func(_ context.Context, s *session.Session) (*thing, error) {
				if s.ID() == "b" {
					time.Sleep(time.Minute) // whatever its context says
				}
				return &thing{s}, nil
			},
			func(*thing, Reason) {
				time.Sleep(time.Hour)
				closes.Add(1)
			}, WithOpenTimeout(time.Hour))
		use(t, o, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := o.Get(ctx, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, o.Close())
		require.EqualValues(t, 2, closes.Load())
	})
}

func TestCloseWhileTheStorageIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		slow := &slow{Storage: st, Watcher: st}
		w := new(workshop)
		o := New(slow, w.open, w.close)
		closeIt := func() { assert.NoError(t, o.Close()) }
		slow.delay.Store(&closeIt)
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, w.opens.Load())
	})
}

// TestPanicsAreContained also looks for secrets: a panic's value may be anything.
func TestPanicsAreContained(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		const secret = "secret-id-0123456789"
		require.NoError(t, st.Store(t.Context(), session.New(secret)))
		var log bytes.Buffer
		var panics sync.Map
		fail := func(call string, s *session.Session) {
			if _, now := panics.Load(call); now {
				panic("panic with " + s.ID())
			}
		}
		peekable := newPeekable(st)
		peekable.peeking = func() { fail("peek", session.New(secret)) }
		o := New(peekable,
			func(_ context.Context, s *session.Session) (*session.Session, error) {
				fail("open", s)
				return s, nil
			},
			func(s *session.Session, _ Reason) { fail("close", s) },
			WithSame(func(before, _ *session.Session) bool {
				fail("same", before)
				return true
			}),
			WithMaxObjects(1), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		t.Cleanup(func() { require.NoError(t, o.Close()) })

		panics.Store("open", true)
		_, err := o.Get(t.Context(), secret)
		require.EqualError(t, err, "live: open: panic (string)")
		panics.Delete("open")

		ref, err := o.Get(t.Context(), secret)
		require.NoError(t, err)
		panics.Store("peek", true)
		update(t, st, secret, func(s *session.Session) *session.Session { return s.With("k", "1") })
		time.Sleep(minCheckPause / 4)
		require.NotEmpty(t, peekable.peeks())
		require.Empty(t, ref.Reason(), "nothing is known")
		panics.Delete("peek")
		panics.Store("same", true)
		time.Sleep(time.Minute)
		require.Equal(t, Superseded, ref.Reason(), "it may be another")
		panics.Delete("same")

		panics.Store("close", true)
		ref.Release()
		panics.Delete("close")
		ref, err = o.Get(t.Context(), "a")
		require.NoError(t, err, "the place is free")
		ref.Release()

		for _, call := range []string{"open", "close", "same", "peek"} {
			require.Contains(t, log.String(), "call="+call)
		}
		require.NotContains(t, log.String(), secret)
	})
}

func TestPanicOnTheCallersGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		broken := true
		w := new(workshop)
		o := setUp(t, plain{st}, w, WithSame(func(_, _ *session.Session) bool {
			if broken {
				panic("broken")
			}
			return true
		}))
		before := use(t, o, "a")
		update(t, st, "a", func(s *session.Session) *session.Session { return s.With("k", "1") })
		require.Panics(t, func() { _, _ = o.Get(t.Context(), "a") }, "its own recover sees it")
		broken = false
		require.Same(t, before, use(t, o, "a"))
	})
}

// TestOpenThatEndsItsGoroutine is about a test's FailNow in a callback, for one.
func TestOpenThatEndsItsGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: func(context.Context, *session.Session) error {
			runtime.Goexit()
			return nil
		}}
		o := setUp(t, st, w)
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, errNoReturn)
	})
}

func TestBadArgumentsPanic(t *testing.T) {
	st := session.NewMemoryStorage(ttl)
	open := new(workshop).open
	for name, bad := range map[string]func(){
		"no storage":        func() { New(nil, open, nil) },
		"no open":           func() { New[*thing](st, nil, nil) },
		"no same":           func() { WithSame(nil) },
		"no logger":         func() { WithLogger(nil) },
		"negative objects":  func() { WithMaxObjects(-1) },
		"negative time-out": func() { WithOpenTimeout(-1) },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, bad) })
	}
}

func TestDefaults(t *testing.T) {
	o := New(session.NewMemoryStorage(ttl), new(workshop).open, nil, WithMaxObjects(0), WithOpenTimeout(0))
	require.Equal(t, defaultMaxObjects, o.maxObjects)
	require.Equal(t, defaultOpenTimeout, o.openTimeout)
	require.NoError(t, o.Close(), "without a function that closes, too")
}
