package live

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestRemovedAnywhere ends sessions in every way. No caller asks again, and no time passes.
func TestRemovedAnywhere(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *session.MemoryStorage, string) error{
		"delete": func(ctx context.Context, st *session.MemoryStorage, id string) error { return st.Delete(ctx, id) },
		"take": func(ctx context.Context, st *session.MemoryStorage, id string) error {
			_, err := st.Take(ctx, id)
			return err
		},
		"sweep": func(ctx context.Context, st *session.MemoryStorage, _ string) error {
			return st.DeleteExpired(ctx, time.Now().Add(time.Second))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				w := new(workshop)
				o := setUp(t, st, w)
				use(t, o, "a")
				held := get(t, o, "b")
				start := time.Now()
				require.NoError(t, remove(t.Context(), st, "a"))
				require.NoError(t, remove(t.Context(), st, "b"))
				synctest.Wait()
				require.Equal(t, []string{"a removed"}, w.ends())
				require.True(t, isClosed(held.Done()))
				require.Equal(t, Removed, held.Reason())
				_, err := o.Get(t.Context(), "b")
				require.ErrorIs(t, err, session.ErrNotFound)
				require.Empty(t, w.ends(), "it is in use")
				held.Release()
				require.Equal(t, []string{"b removed"}, w.ends())
				require.Zero(t, time.Since(start))
				requireLeft(t, o, 0, 0)
			})
		})
	}
}

// TestRemovedBeforeEventsFlow is about the start: there are objects before the storage begins to report.
func TestRemovedBeforeEventsFlow(t *testing.T) {
	peek := func(err error) func(*session.MemoryStorage) session.Storage {
		return func(st *session.MemoryStorage) session.Storage {
			peekable := newPeekable(st)
			peekable.err, peekable.Watcher = err, late{st}
			return peekable
		}
	}
	for name, storage := range map[string]func(*session.MemoryStorage) session.Storage{
		"peek":             peek(nil),
		"unsupported peek": peek(errors.ErrUnsupported),
		"no peek":          func(st *session.MemoryStorage) session.Storage { return watched{st, late{st}} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				w := new(workshop)
				o := setUp(t, storage(st), w)
				use(t, o, "a")
				kept := use(t, o, "b")
				held := get(t, o, "c")
				require.NoError(t, st.Delete(t.Context(), "a"))
				require.NoError(t, st.Delete(t.Context(), "c"))
				time.Sleep(2 * time.Second)
				require.Equal(t, []string{"a removed"}, w.ends())
				require.Equal(t, Removed, held.Reason())
				held.Release()
				require.Same(t, kept, use(t, o, "b"))
			})
		})
	}
}

// late is a Watcher that needs a second to begin.
type late struct{ session.Watcher }

func (l late) Watch(ctx context.Context, heartbeat time.Duration, fn func(session.Event)) error {
	time.Sleep(time.Second)
	return l.Watcher.Watch(ctx, heartbeat, fn)
}

// TestRemovalsByRevision is about reports of earlier sessions under the same id.
func TestRemovalsByRevision(t *testing.T) {
	for name, test := range map[string]struct {
		revision func(own uint64) uint64
		goes     bool
	}{
		"earlier session":  {func(own uint64) uint64 { return own - 1 }, false},
		"this state":       {func(own uint64) uint64 { return own }, true},
		"a later state":    {func(own uint64) uint64 { return own + 1 }, true},
		"unknown revision": {func(uint64) uint64 { return 0 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				w := new(workshop)
				reporter := newReporter(st)
				o := setUp(t, reporter, w)
				held := get(t, o, "a")
				reporter.report(session.Removed{ID: "a", Revision: test.revision(held.Session.Revision())})
				require.Equal(t, test.goes, isClosed(held.Done()))
				held.Release()
				require.Len(t, w.ends(), map[bool]int{true: 1}[test.goes])
			})
		})
	}
}

func TestRemovedWhileItIsOpened(t *testing.T) {
	for name, result := range map[string]error{"fails": context.Canceled, "succeeds": nil} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				w := &workshop{making: func(ctx context.Context, _ *session.Session) error {
					<-ctx.Done()
					return result
				}}
				o := setUp(t, st, w)
				start := time.Now()
				var all sync.WaitGroup
				for range 3 {
					all.Go(func() {
						_, err := o.Get(t.Context(), "a")
						assert.ErrorIs(t, err, session.ErrNotFound)
					})
				}
				synctest.Wait()
				require.NoError(t, st.Delete(t.Context(), "a"))
				all.Wait()
				synctest.Wait()
				require.Zero(t, time.Since(start))
				if result == nil {
					require.Equal(t, []string{"a removed"}, w.ends())
				}
				requireLeft(t, o, 0, 0)
			})
		})
	}
}

// TestRemovedWhileItIsLoaded is about an answer that is overtaken by the event: no other one would come for its object.
func TestRemovedWhileItIsLoaded(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		slow := &slow{Storage: st, Watcher: st}
		w := new(workshop)
		o := setUp(t, slow, w)
		remove := func() {
			assert.NoError(t, st.Delete(t.Context(), "a"))
			synctest.Wait()
		}
		slow.delay.Store(&remove)
		_, err := o.Get(t.Context(), "a")
		require.ErrorIs(t, err, session.ErrNotFound)
		require.Zero(t, w.opens.Load())
	})
}

// TestLateNotFound is about an answer that is overtaken by a new session under the id.
func TestLateNotFound(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		slow := &slow{Storage: st, Watcher: st}
		w := new(workshop)
		o := setUp(t, slow, w)
		var created *Ref[*thing]
		create := func() {
			assert.NoError(t, st.Create(t.Context(), session.New("new")))
			created = get(t, o, "new")
		}
		slow.delay.Store(&create)
		_, err := o.Get(t.Context(), "new")
		require.ErrorIs(t, err, session.ErrNotFound)
		require.Empty(t, created.Reason())
		created.Release()
	})
}

// TestRetiredBeforeItsCallerWakesUp is about an object that has to go between its opening and the moment when a caller
// who waited for it runs.
func TestRetiredBeforeItsCallerWakesUp(t *testing.T) {
	for reason, handedOut := range map[Reason]bool{Removed: false, Expired: false, Discarded: false, Superseded: true} {
		bubble(t, func(t *testing.T, st *session.MemoryStorage) {
			w := new(workshop)
			o := setUp(t, st, w)
			ref := get(t, o, "a")
			defer ref.Release()
			o.retire(ref.object, reason)
			_, served, err := o.outcome(t.Context(), ref.object, loaded{state: ref.object.state})
			require.NoError(t, err)
			require.Equal(t, handedOut, served, reason)
		})
	}
}

func TestChangedSession(t *testing.T) {
	backend := func(s *session.Session) string {
		url, _ := s.Get("backend")
		return url
	}
	same := WithSame(func(before, after *session.Session) bool { return backend(before) == backend(after) })
	moves := func(t *testing.T, st *session.MemoryStorage) {
		update(t, st, "a", func(s *session.Session) *session.Session { return s.With("backend", "2") })
	}
	other := func(t *testing.T, st *session.MemoryStorage) {
		update(t, st, "a", func(s *session.Session) *session.Session { return s.With("step", "2") })
	}
	anew := func(t *testing.T, st *session.MemoryStorage) {
		time.Sleep(time.Millisecond)
		require.NoError(t, st.Store(t.Context(), session.New("a")))
	}
	peek := func(st *session.MemoryStorage) session.Storage { return newPeekable(st) }
	noPeek := func(st *session.MemoryStorage) session.Storage { return withoutPeek(st) }
	nothing := func(st *session.MemoryStorage) session.Storage { return plain{st} }
	for name, test := range map[string]struct {
		storage func(*session.MemoryStorage) session.Storage
		opts    []Option
		change  func(*testing.T, *session.MemoryStorage)
		tells   bool // its users are told at once
		reopens bool // for the next caller
	}{
		"any change, by default":             {noPeek, nil, other, true, true},
		"any change, by default, no events":  {nothing, nil, other, false, true},
		"what matters":                       {peek, []Option{same}, moves, true, true},
		"what matters, no peek":              {noPeek, []Option{same}, moves, false, true},
		"what matters, no events":            {nothing, []Option{same}, moves, false, true},
		"what does not matter":               {peek, []Option{same}, other, false, false},
		"what does not matter, no peek":      {noPeek, []Option{same}, other, false, false},
		"another session of the id":          {peek, []Option{same}, anew, true, true},
		"another session, no peek or events": {nothing, []Option{same}, anew, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				w := new(workshop)
				o := setUp(t, test.storage(st), w, test.opts...)
				first, second := get(t, o, "a"), get(t, o, "a")
				test.change(t, st)
				synctest.Wait()
				require.Equal(t, test.tells, isClosed(first.Done()))
				third := get(t, o, "a")
				require.Equal(t, test.reopens, third.Object != first.Object)
				require.Equal(t, test.reopens, isClosed(first.Done()))
				first.Release()
				require.Empty(t, w.ends(), "the second one uses it")
				second.Release()
				third.Release()
				require.Same(t, third.Object, use(t, o, "a"))
				if test.reopens {
					require.Equal(t, []string{"a superseded"}, w.ends())
				} else {
					require.Empty(t, w.ends())
				}
			})
		})
	}
}

// TestChangesFasterThanOpening is about progress: each change supersedes the object, and comes before it is open.
func TestChangesFasterThanOpening(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: sleeper(time.Second)}
		o := setUp(t, st, w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 100 {
			update(t, st, "a", func(s *session.Session) *session.Session { return s.With("k", "v") })
			all.Go(func() {
				start := time.Now()
				ref, err := o.Get(ctx, "a")
				if assert.NoError(t, err) {
					ref.Release()
				}
				assert.Less(t, time.Since(start), 5*time.Second, "a few openings, not all of them")
			})
			time.Sleep(100 * time.Millisecond)
		}
		all.Wait()
	})
}

// TestNewerCallerGetsANewerObject asks for a session that has changed since its object began to be opened.
func TestNewerCallerGetsANewerObject(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: sleeper(time.Second)}
		o := setUp(t, st, w)
		var older, newer *Ref[*thing]
		var all sync.WaitGroup
		all.Go(func() { older = get(t, o, "a") })
		synctest.Wait()
		update(t, st, "a", func(s *session.Session) *session.Session { return s.WithPrincipal("another") })
		all.Go(func() { newer = get(t, o, "a") })
		all.Wait()
		require.Empty(t, older.Object.session.Principal())
		require.Equal(t, Superseded, older.Reason())
		require.Equal(t, "another", newer.Object.session.Principal())
		require.Empty(t, newer.Reason())
		older.Release()
		newer.Release()
	})
}

func TestChangedWhileItIsOpened(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := &workshop{making: sleeper(time.Second)}
		peekable := newPeekable(st)
		o := setUp(t, peekable, w, WithSame(func(before, after *session.Session) bool {
			return before.Principal() == after.Principal()
		}))
		var ref *Ref[*thing]
		var all sync.WaitGroup
		all.Go(func() { ref = get(t, o, "a") })
		synctest.Wait()
		update(t, st, "a", func(s *session.Session) *session.Session { return s.WithPrincipal("user") })
		all.Wait()
		synctest.Wait()
		require.Equal(t, Superseded, ref.Reason())
		ref.Release()
	})
}

func TestOlderStateServes(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		slow := &slow{Storage: st, Watcher: st}
		w := new(workshop)
		o := setUp(t, slow, w)
		var newer *thing
		change := func() {
			update(t, st, "a", func(s *session.Session) *session.Session { return s.WithPrincipal("another") })
			newer = use(t, o, "a")
		}
		slow.delay.Store(&change)
		ref := get(t, o, "a") // has loaded the session before it changed
		defer ref.Release()
		require.Same(t, newer, ref.Object)
		require.Equal(t, "another", ref.Session.Principal(), "the owner of the object")
		require.Empty(t, w.ends())
	})
}

// TestStampedSession stores a loaded session in another storage, which changes the revision that it carries.
func TestStampedSession(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		w := new(workshop)
		o := setUp(t, plain{st}, w)
		ref := get(t, o, "a")
		defer ref.Release()
		session.Stamp(ref.Session, 1)
		require.Same(t, ref.Object, use(t, o, "a"))
	})
}

// TestWatchIsBegunAgain also looks at the log, which must not be flooded.
func TestWatchIsBegunAgain(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		w := new(workshop)
		reporter := newReporter(st)
		o := setUp(t, reporter, w, WithLogger(logger))
		reporter.report(session.Alive{AsOf: time.Now()})
		use(t, o, "a")
		ended := reporter.events
		reporter.events = make(chan session.Event)
		close(ended) // it fails again and again, until the new channel is seen
		time.Sleep(time.Minute)
		reporter.report(session.Removed{ID: "a"})
		require.Equal(t, []string{"a removed"}, w.ends())
		require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	})
}

// TestNoEvents lists the storages that report none. The set works, and says so once.
func TestNoEvents(t *testing.T) {
	for name, watch := range map[string]func(*testing.T) error{
		"not a Watcher": nil,
		"unsupported":   func(*testing.T) error { return errors.ErrUnsupported },
		"failing":       func(*testing.T) error { return errors.New("secret-id") },
		"panicking":     func(*testing.T) error { panic("secret-id") },
		"no error":      func(*testing.T) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *session.MemoryStorage) {
				var log bytes.Buffer
				var storage session.Storage = plain{st}
				if watch != nil {
					storage = watched{st, watchFunc(func() error { return watch(t) })}
				}
				w := new(workshop)
				o := New(storage, w.open, w.close, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
				use(t, o, "a")
				time.Sleep(10 * time.Second)
				require.NoError(t, st.Delete(t.Context(), "a"))
				_, err := o.Get(t.Context(), "a")
				require.ErrorIs(t, err, session.ErrNotFound)
				synctest.Wait()
				require.Equal(t, []string{"a removed"}, w.ends())
				require.NoError(t, o.Close())
				require.Equal(t, 1, strings.Count(log.String(), "no change events"), log.String())
				require.NotContains(t, log.String(), "secret-id")
			})
		})
	}
}

// TestFlappingWatchIsLoggedSeldom has a watch that works for a moment, again and again.
func TestFlappingWatchIsLoggedSeldom(t *testing.T) {
	bubble(t, func(t *testing.T, st *session.MemoryStorage) {
		var log bytes.Buffer
		o := New(watched{st, flapping{}}, new(workshop).open, nil, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		time.Sleep(time.Hour + time.Second)
		require.NoError(t, o.Close())
		require.InDelta(t, 60, strings.Count(log.String(), "no change events"), 2)
	})
}

type flapping struct{}

func (flapping) TTL() time.Duration { return ttl }

func (flapping) Watch(_ context.Context, _ time.Duration, fn func(session.Event)) error {
	fn(session.Gap{})
	fn(session.Alive{AsOf: time.Now()})
	return session.ErrUnavailable
}

type watchFunc func() error

func (watchFunc) TTL() time.Duration { return ttl }

func (f watchFunc) Watch(context.Context, time.Duration, func(session.Event)) error { return f() }
