package session

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

func increment(s *Session) (*Session, error) {
	n, _ := s.Get("n")
	i, _ := strconv.Atoi(n)
	return s.With("n", strconv.Itoa(i+1)), nil
}

func TestUpdateLosesNoChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := NewMemoryStorage(time.Hour)
		require.NoError(t, remote.Store(t.Context(), New(testID)))
		var writers sync.WaitGroup
		for range 4 { // replicas
			st := NewRoutingStorage(remote, 10)
			defer func() { require.NoError(t, st.Close()) }()
			for range 8 {
				writers.Go(func() {
					_, err := Update(t.Context(), st, testID, increment)
					require.NoError(t, err)
				})
			}
		}
		writers.Wait()
		s, err := remote.Load(t.Context(), testID)
		require.NoError(t, err)
		n, _ := s.Get("n")
		require.Equal(t, "32", n)
	})
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	ctx := t.Context()
	_, err := Update(ctx, st, testID, increment)
	require.ErrorIs(t, err, ErrNotFound)

	stored := New(testID)
	require.NoError(t, st.Store(ctx, stored))
	for _, unchanged := range []func(*Session) (*Session, error){
		func(s *Session) (*Session, error) { return s, nil },
		func(*Session) (*Session, error) { return nil, nil },
	} {
		s, err := Update(ctx, st, testID, unchanged)
		require.NoError(t, err)
		require.Equal(t, stored.Revision(), s.Revision())
	}

	mine := errors.New("mine")
	_, err = Update(ctx, st, testID, func(*Session) (*Session, error) { return nil, mine })
	require.Equal(t, mine, err)
	_, err = Update(ctx, st, testID, func(*Session) (*Session, error) { return New("another"), nil })
	require.ErrorIs(t, err, ErrInvalidID)

	_, err = Update(ctx, st, testID, func(s *Session) (*Session, error) {
		require.NoError(t, st.Delete(ctx, testID))
		return s.Detached().With("k", "v"), nil // detaching does not get around the check
	})
	require.ErrorIs(t, err, ErrNotFound)

	require.NoError(t, st.Store(ctx, New(testID)))
	ctx, cancel := context.WithCancel(ctx)
	_, err = Update(ctx, st, testID, func(s *Session) (*Session, error) {
		require.NoError(t, st.Store(t.Context(), s.With("other", "writer")))
		defer cancel()
		return s.With("k", "v"), nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestLoadOwned(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	require.NoError(t, st.Store(t.Context(), New("owned").WithPrincipal("issuer|user")))
	require.NoError(t, st.Store(t.Context(), New("unowned")))
	s, err := LoadOwned(t.Context(), st, "owned", "issuer|user")
	require.NoError(t, err)
	require.Equal(t, "owned", s.ID())
	for _, test := range [][2]string{
		{"owned", "issuer|another"}, {"owned", ""}, {"unowned", ""}, {"unowned", "issuer|user"}, {"absent", "issuer|user"},
	} {
		_, err := LoadOwned(t.Context(), st, test[0], test[1])
		require.ErrorIs(t, err, ErrNotFound)
	}
}

// fourMethods hides the capabilities of a storage.
type fourMethods struct{ Storage }

// wrapsNothing has the methods of the capabilities, and says that it supports none.
type wrapsNothing struct{ Storage }

func (wrapsNothing) Create(context.Context, *Session) error { return errors.ErrUnsupported }

func (wrapsNothing) Take(context.Context, string) (*Session, error) {
	return nil, errors.ErrUnsupported
}

func TestCreateAndTake(t *testing.T) {
	t.Parallel()
	memory := NewMemoryStorage(time.Hour)
	ctx := t.Context()
	s := New(testID)
	require.NoError(t, Create(ctx, memory, s))
	require.NotZero(t, s.Revision())
	require.ErrorIs(t, Create(ctx, memory, New(testID)), ErrExists)
	require.ErrorIs(t, Create(ctx, memory, nil), ErrInvalidID)
	taken, err := Take(ctx, memory, testID)
	require.NoError(t, err)
	require.Equal(t, s.Revision(), taken.Revision())
	_, err = Take(ctx, memory, testID)
	require.ErrorIs(t, err, ErrNotFound)

	routing := NewRoutingStorage(fourMethods{memory}, 10)
	defer func() { require.NoError(t, routing.Close()) }()
	for _, test := range []struct {
		st   Storage
		what string
	}{
		{fourMethods{memory}, "the storage, a session.fourMethods, is not a "},
		{wrapsNothing{memory}, "the storage, a session.wrapsNothing, is not a "},
		{routing, "the remote, a session.fourMethods, is not a "},
	} {
		err := Create(ctx, test.st, New(testID))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.EqualError(t, err, "session: create: unsupported operation: "+test.what+"Creator")
		taken, err := Take(ctx, test.st, testID)
		require.Nil(t, taken)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.EqualError(t, err, "session: take: unsupported operation: "+test.what+"Taker")
	}
	require.Zero(t, memory.records.Len())
}

func TestRenew(t *testing.T) {
	t.Parallel()
	memory := NewMemoryStorage(time.Hour)
	for name, st := range map[string]Storage{
		"taker":   memory,
		"plain":   fourMethods{memory},
		"routing": NewRoutingStorage(fourMethods{memory}, 10), // its Take is unsupported
	} {
		ctx := t.Context()
		require.NoError(t, st.Store(ctx, New(testID).WithPrincipal("p")))
		s, err := st.Load(ctx, testID)
		require.NoError(t, err)
		renewed, err := Renew(ctx, st, s.With("logged", "in"))
		require.NoError(t, err, name)
		require.NotEqual(t, testID, renewed.ID())

		_, err = st.Load(ctx, testID)
		require.ErrorIs(t, err, ErrNotFound, name)
		loaded, err := st.Load(ctx, renewed.ID())
		require.NoError(t, err, name)
		require.Equal(t, renewed.Record(), loaded.Record())
		require.Equal(t, s.CreatedAt(), loaded.CreatedAt())
		require.NoError(t, st.Store(ctx, renewed.With("and", "on")))

		_, err = Renew(ctx, st, s)
		require.ErrorIs(t, err, ErrNotFound, "an old copy cannot be renewed again")
		_, err = Renew(ctx, st, New("never stored"))
		require.ErrorIs(t, err, ErrNotFound)
		_, err = Renew(ctx, st, nil)
		require.ErrorIs(t, err, ErrInvalidID)
		if closer, ok := st.(*RoutingStorage); ok {
			require.NoError(t, closer.Close())
		}
	}
}

// deleteBefore deletes a session just before it is taken.
type deleteBefore struct{ *MemoryStorage }

func (d deleteBefore) Take(ctx context.Context, id string) (*Session, error) {
	if err := d.Delete(ctx, id); err != nil {
		return nil, err
	}
	return d.MemoryStorage.Take(ctx, id)
}

func TestRenewDoesNotBringBackADeletedSession(t *testing.T) {
	t.Parallel()
	st := deleteBefore{NewMemoryStorage(time.Hour)}
	s := New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	_, err := Renew(t.Context(), st, s)
	require.ErrorIs(t, err, ErrNotFound)
	require.Zero(t, st.records.Len())
}

func TestRenewRefusesAnOldCopy(t *testing.T) {
	t.Parallel()
	st := NewMemoryStorage(time.Hour)
	s := New(testID)
	require.NoError(t, st.Store(t.Context(), s))
	old := s.With("k", "old")
	require.NoError(t, st.Store(t.Context(), s.With("k", "new")))
	_, err := Renew(t.Context(), st, old)
	require.ErrorIs(t, err, ErrConflict)
	_, err = st.Load(t.Context(), testID)
	require.NoError(t, err, "the stored session is unchanged")
}

// unsweepable is a storage whose sweeps fail for a while, with an id in the error.
type unsweepable struct {
	Storage
	until time.Time
}

func (u unsweepable) DeleteExpired(context.Context, time.Time) error {
	if time.Now().Before(u.until) {
		return errors.New(testID)
	}
	return nil
}

// TestSweepsThatFailAreLogged: once when they begin to, and once when they work again. It runs alone, for the default
// logger is that of all tests.
func TestSweepsThatFailAreLogged(t *testing.T) { //nolint:paralleltest // see above
	var seen journal
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(logger)
		log.SetOutput(writer)
		log.SetFlags(flags)
	}()
	slog.SetDefault(slog.New(slog.NewTextHandler(&seen, nil)))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		require.ErrorIs(t, Sweep(ctx, unsweepable{until: time.Now().Add(time.Hour)}, time.Minute, time.Hour),
			context.DeadlineExceeded)
	})
	require.Len(t, seen.lines(), 2)
	require.Contains(t, seen.lines()[0], "sweeps fail")
	require.Contains(t, seen.lines()[1], "sweeps work again")
	require.False(t, seen.has(testID))
}

func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := NewMemoryStorage(24 * time.Hour)
		require.NoError(t, st.Store(t.Context(), New("idle")))
		require.NoError(t, st.Store(t.Context(), New("busy")))
		ctx, cancel := context.WithCancel(t.Context())
		swept := later(func() error { return Sweep(ctx, st, time.Minute, time.Hour) })
		for range 100 {
			time.Sleep(time.Minute)
			_, err := st.Load(ctx, "busy")
			require.NoError(t, err)
		}
		holds(t, st, "busy")
		cancel()
		require.ErrorIs(t, <-swept, context.Canceled)
	})
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 0, 1) })
	require.Panics(t, func() { _ = Sweep(t.Context(), NewMemoryStorage(1), 1, -1) })
}

var errInjected = errors.New("injected")

// faultyStorage has one of its writes fail, before or after it had its effect, and calls between before each write.
type faultyStorage struct {
	*MemoryStorage

	failAt  int // counted from 1; 0: none
	after   bool
	between func(call int)

	calls   int
	created []string // ids that were stored anew
}

func (f *faultyStorage) call(do func() error) error {
	f.calls++
	if f.between != nil {
		f.between(f.calls)
	}
	if f.calls == f.failAt && !f.after {
		return errInjected
	}
	err := do()
	if f.calls == f.failAt {
		return errInjected
	}
	return err
}

func (f *faultyStorage) Store(ctx context.Context, s *Session) error {
	return f.call(func() error { f.note(s); return f.MemoryStorage.Store(ctx, s) })
}

func (f *faultyStorage) Create(ctx context.Context, s *Session) error {
	return f.call(func() error { f.note(s); return f.MemoryStorage.Create(ctx, s) })
}

func (f *faultyStorage) note(s *Session) {
	if s.id != testID {
		f.created = append(f.created, s.id)
	}
}

func (f *faultyStorage) Delete(ctx context.Context, id string) error {
	return f.call(func() error { return f.MemoryStorage.Delete(ctx, id) })
}

func (f *faultyStorage) Take(ctx context.Context, id string) (s *Session, err error) {
	err = f.call(func() error { s, err = f.MemoryStorage.Take(ctx, id); return err })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// renewSubjects are the storages that Renew treats differently, over one that may fail.
var renewSubjects = map[string]func(f *faultyStorage) Storage{
	"all":     func(f *faultyStorage) Storage { return f },
	"taker":   func(f *faultyStorage) Storage { return struct{ storageTaker }{f} },
	"creator": func(f *faultyStorage) Storage { return struct{ storageCreator }{f} },
	"plain":   func(f *faultyStorage) Storage { return fourMethods{f} },
	"routing": func(f *faultyStorage) Storage { return NewRoutingStorage(fourMethods{f}, 10) }, // says unsupported
}

type storageTaker interface {
	Storage
	Taker
}

type storageCreator interface {
	Storage
	Creator
}

func takes(st Storage) bool {
	_, ok := st.(Taker)
	_, routing := st.(*RoutingStorage)
	return ok && !routing
}

func closeAny(t *testing.T, st Storage) {
	t.Helper()
	if rt, ok := st.(*RoutingStorage); ok {
		require.NoError(t, rt.Close())
	}
}

// TestRenewThatFailsGrantsNothing has each call of Renew fail. Whatever happens, the old id has no more than it had.
func TestRenewThatFailsGrantsNothing(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		for failAt := 1; failAt <= 3; failAt++ {
			for _, after := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					what := fmt.Sprint(name, ", call ", failAt, ", after ", after)
					f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
					require.NoError(t, f.MemoryStorage.Store(t.Context(), New(testID).With("planted", "yes")))
					st := subject(f)
					defer closeAny(t, st)
					s, err := st.Load(t.Context(), testID)
					require.NoError(t, err)
					f.failAt, f.after = failAt, after
					renewed, err := Renew(t.Context(), st, s.WithPrincipal("alice").With("role", "admin"))
					require.ErrorIs(t, err, errInjected, what)
					require.Nil(t, renewed)
					require.Equal(t, failAt, f.calls, "nothing follows a failure")
					f.failAt = 0

					old, err := f.Load(t.Context(), testID)
					switch {
					case failAt == 1 && !after:
						require.NoError(t, err)
						require.Equal(t, s.Record(), old.Record(), "nothing has happened")
						return
					case failAt == 1 || failAt == 2 && !after:
						require.NoError(t, err)
						record := old.Record()
						require.LessOrEqual(t, record.ExpiresAt, time.Now().Add(time.Minute))
						require.Equal(t, Record{
							ID: testID, CreatedAt: record.CreatedAt, UpdatedAt: record.UpdatedAt, ExpiresAt: record.ExpiresAt,
						}, record, "%s: it is blank", what)
					default:
						require.ErrorIs(t, err, ErrNotFound, what)
					}
					time.Sleep(time.Minute)
					_, err = f.Load(t.Context(), testID)
					require.ErrorIs(t, err, ErrNotFound, "%s: the session is lost", what)
				})
			}
		}
	}
}

func TestRenewKeepsTheSession(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		for _, lifetime := range []time.Duration{0, 10 * time.Second, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(24 * time.Hour)}
				original := New(testID).WithType(TypeSSE).With("a", "b").WithData([]byte("data"))
				if lifetime > 0 {
					original = original.WithExpiresAt(time.Now().Add(lifetime))
				}
				require.NoError(t, f.MemoryStorage.Store(t.Context(), original))
				time.Sleep(time.Second)
				st := subject(f)
				defer closeAny(t, st)
				s, err := st.Load(t.Context(), testID)
				require.NoError(t, err)
				s = s.WithPrincipal("alice")
				renewed, err := Renew(t.Context(), st, s)
				require.NoError(t, err, name)
				require.Equal(t, []string{renewed.ID()}, f.created)
				want := s.Record()
				want.ID = renewed.ID()
				require.Equal(t, want, renewed.Record(), name)
				loaded, err := f.Load(t.Context(), renewed.ID())
				require.NoError(t, err)
				require.Equal(t, want, loaded.Record(), name)
				require.Equal(t, loaded.Revision(), renewed.Revision())
				require.Equal(t, original.CreatedAt(), loaded.CreatedAt())
				_, err = f.Load(t.Context(), testID)
				require.ErrorIs(t, err, ErrNotFound)
			})
		}
	}
}

// TestRenewLosesNoChange has another writer change or delete the session before each call of Renew.
func TestRenewLosesNoChange(t *testing.T) {
	t.Parallel()
	change := func(t *testing.T, m *MemoryStorage) {
		_, err := Update(t.Context(), m, testID, func(s *Session) (*Session, error) { return s.With("by", "another"), nil })
		require.NoError(t, err)
	}
	remove := func(t *testing.T, m *MemoryStorage) { require.NoError(t, m.Delete(t.Context(), testID)) }
	for name, subject := range renewSubjects {
		for at, test := range []struct {
			do              func(t *testing.T, m *MemoryStorage)
			call            int
			want, untakable error
		}{
			{change, 1, ErrConflict, ErrConflict},
			{remove, 1, ErrNotFound, ErrNotFound},
			{change, 2, ErrConflict, nil}, // of a blank session: there is nothing to lose
			{remove, 2, ErrNotFound, nil},
		} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
				require.NoError(t, f.MemoryStorage.Store(t.Context(), New(testID)))
				st := subject(f)
				defer closeAny(t, st)
				s, err := st.Load(t.Context(), testID)
				require.NoError(t, err)
				f.between = func(call int) {
					if call == test.call {
						test.do(t, f.MemoryStorage)
					}
				}
				want := test.want
				if !takes(st) {
					want = test.untakable
				}
				_, err = Renew(t.Context(), st, s.WithPrincipal("alice"))
				if want == nil {
					require.NoError(t, err, "%s %d", name, at)
				} else {
					require.ErrorIs(t, err, want, "%s %d", name, at)
					require.Empty(t, f.created, "%s %d: nothing is stored under a new id", name, at)
				}
				old, err := f.Load(t.Context(), testID)
				if test.call == 1 && want == ErrConflict { //nolint:errorlint // the same
					require.NoError(t, err)
					by, _ := old.Get("by")
					require.Equal(t, "another", by, "the change is still there")
				} else {
					require.ErrorIs(t, err, ErrNotFound, "%s %d", name, at)
				}
			})
		}
	}
}

// TestPollersOfAPlantedIDGetNothing polls an id through another replica, and past its local tier, while its session is
// renewed with the rights of a user.
func TestPollersOfAPlantedIDGetNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	replica := func() (*RoutingStorage, *RedisStorage) {
		remote := NewRedisStorage(server.Client(t), time.Minute)
		st := NewRoutingStorage(remote, 100)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		return st, remote
	}
	victim, _ := replica()
	attacker, remote := replica()
	require.Eventually(t, func() bool { return attacker.Stats().Mode == ModeLeased }, 10*time.Second, time.Millisecond)

	var planted atomic.Pointer[string]
	var found, polls atomic.Int64
	done := make(chan struct{})
	var pollers sync.WaitGroup
	for _, st := range []Storage{attacker, attacker, remote, remote} {
		pollers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				id := planted.Load()
				if id == nil {
					continue
				}
				s, err := st.Load(t.Context(), *id)
				polls.Add(1)
				if err != nil {
					continue
				}
				if _, ok := s.Get("role"); ok || s.Principal() != "" || len(s.Data()) > 0 {
					found.Add(1)
				}
			}
		})
	}
	for range 300 {
		s := New(NewID()).With("planted", "yes")
		id := s.ID()
		require.NoError(t, victim.Store(t.Context(), s))
		planted.Store(&id)
		_, err := attacker.Load(t.Context(), id)
		require.NoError(t, err)
		renewed, err := Renew(t.Context(), victim, s.WithPrincipal("alice").With("role", "admin").WithData([]byte("data")))
		require.NoError(t, err)
		loaded, err := attacker.Load(t.Context(), renewed.ID())
		require.NoError(t, err)
		require.Equal(t, "alice", loaded.Principal())
	}
	close(done)
	pollers.Wait()
	require.Greater(t, polls.Load(), int64(1000))
	require.Zero(t, found.Load())
}

// TestBlankSessionDiesSoon looks at what Renew leaves if it cannot destroy it.
func TestBlankSessionDiesSoon(t *testing.T) {
	t.Parallel()
	for lifetime, want := range map[time.Duration]time.Duration{
		0: time.Minute, time.Hour: time.Minute, 10 * time.Second: 10 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour), failAt: 2}
			s := New(testID).WithPrincipal("p").WithIdleTimeout(2 * time.Hour)
			if lifetime > 0 {
				s = s.WithExpiresAt(time.Now().Add(lifetime))
			}
			require.NoError(t, f.MemoryStorage.Store(t.Context(), s))
			_, err := Renew(t.Context(), f, s)
			require.ErrorIs(t, err, errInjected)
			blank, err := f.Peek(t.Context(), testID)
			require.NoError(t, err)
			require.Equal(t, want, time.Until(blank.ExpiresAt()))
			require.Empty(t, blank.Principal())
		})
	}
}

const newID = "chosen-by-the-caller"

func TestRenewTo(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		for _, same := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour, WithMaxLifetime(time.Hour))}
				g := &faultyStorage{MemoryStorage: NewMemoryStorage(24*time.Hour, WithMaxLifetime(48*time.Hour))}
				anonymous, signedIn := subject(f), subject(g)
				defer closeAny(t, anonymous)
				defer closeAny(t, signedIn)
				if same {
					g, signedIn = f, anonymous
				}
				require.NoError(t, anonymous.Store(t.Context(), New(testID).With("cart", "full").WithData([]byte("d"))))
				time.Sleep(time.Minute)
				s, err := anonymous.Load(t.Context(), testID)
				require.NoError(t, err)
				gained := s.WithPrincipal("alice").WithExpiresAt(time.Time{}).WithIdleTimeout(20 * time.Hour)
				renewed, err := RenewTo(t.Context(), anonymous, gained, signedIn, newID)
				require.NoError(t, err, name)
				want := gained.Record()
				want.ID = newID
				require.Equal(t, want, renewed.Record())
				loaded, err := g.Load(t.Context(), newID)
				require.NoError(t, err)
				want.ExpiresAt = s.CreatedAt().Add(g.MaxLifetime())
				require.Equal(t, want, loaded.Record())
				require.Equal(t, loaded.Revision(), renewed.Revision())
				_, err = f.Load(t.Context(), testID)
				require.ErrorIs(t, err, ErrNotFound)
				require.NoError(t, signedIn.Store(t.Context(), loaded.With("and", "on")))
			})
		}
	}
}

func TestRenewToATakenID(t *testing.T) {
	t.Parallel()
	for name, subject := range renewSubjects {
		f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
		st := subject(f)
		ctx := t.Context()
		s, other := New(testID).With("k", "v"), New(newID).WithPrincipal("another")
		require.NoError(t, st.Store(ctx, s))
		require.NoError(t, st.Store(ctx, other))
		for range 2 {
			_, err := RenewTo(ctx, st, s.WithPrincipal("alice"), st, newID)
			require.ErrorIs(t, err, ErrExists, name)
		}
		for _, want := range []*Session{s, other} {
			got, err := f.Load(ctx, want.ID())
			require.NoError(t, err)
			require.Equal(t, want.Record(), got.Record(), "%s: nothing has happened", name)
			require.Equal(t, want.Revision(), got.Revision())
		}
		closeAny(t, st)
	}
}

func TestRenewToRefusesNonsense(t *testing.T) {
	t.Parallel()
	m, other := NewMemoryStorage(time.Hour), NewMemoryStorage(time.Hour)
	ctx := t.Context()
	s := New(testID)
	require.NoError(t, m.Store(ctx, s))
	changed := s.With("k", "v")
	require.NoError(t, m.Store(ctx, changed))
	for name, test := range map[string]struct {
		s    *Session
		to   Storage
		id   string
		want error
	}{
		"the same id":                     {changed, m, testID, ErrInvalidID},
		"the same id in another storage":  {changed, other, testID, ErrInvalidID},
		"an invalid id":                   {changed, other, "a b", ErrInvalidID},
		"an empty id":                     {changed, other, "", ErrInvalidID},
		"no session":                      {nil, other, newID, ErrInvalidID},
		"a session that was never stored": {New("new"), other, newID, ErrNotFound},
		"an old copy":                     {s, other, newID, ErrConflict},
		"an old copy, into the same":      {s, m, newID, ErrConflict},
	} {
		renewed, err := RenewTo(ctx, m, test.s, test.to, test.id)
		require.ErrorIs(t, err, test.want, name)
		require.Nil(t, renewed)
		require.NotContains(t, err.Error(), testID)
	}
	holds(t, m, testID)
	require.Zero(t, other.records.Len(), "the id is free again")
	current, err := m.Load(ctx, testID)
	require.NoError(t, err)
	require.Equal(t, changed.Record(), current.Record())
}

// TestRenewToThatFailsGrantsNothing has each call of RenewTo fail.
func TestRenewToThatFailsGrantsNothing(t *testing.T) {
	t.Parallel()
	const absent, blank, whole, gained = "absent", "blank", "as it was", "with what it gained"
	for at, test := range []struct {
		inNew             bool // the call is one to the new storage
		failAt            int  // among the calls to that storage
		before, after     string
		newBefore, newNow string // under the new id
	}{
		{true, 1, whole, whole, absent, blank}, // the reservation
		{false, 1, whole, blank, absent, absent},
		{false, 2, blank, absent, absent, absent},
		{true, 2, absent, absent, blank, gained},
	} {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
				g := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
				s := New(testID).With("planted", "yes")
				require.NoError(t, f.MemoryStorage.Store(t.Context(), s))
				failing := f
				if test.inNew {
					failing = g
				}
				failing.failAt, failing.after = test.failAt, after
				renewed, err := RenewTo(t.Context(), f, s.WithPrincipal("alice"), g, newID)
				require.ErrorIs(t, err, errInjected)
				require.Nil(t, renewed)

				state := func(m *MemoryStorage, id string) string {
					s, err := m.Peek(t.Context(), id)
					switch _, planted := s.Get("planted"); {
					case err != nil:
						require.ErrorIs(t, err, ErrNotFound)
						return absent
					case s.Principal() == "alice":
						return gained
					case planted:
						return whole
					}
					return blank
				}
				want, wantNew := test.before, test.newBefore
				if after {
					want, wantNew = test.after, test.newNow
				}
				require.Equal(t, want, state(f.MemoryStorage, testID), "%d, after: %t", at, after)
				require.Equal(t, wantNew, state(g.MemoryStorage, newID), "%d, after: %t", at, after)
				time.Sleep(time.Minute)
				require.NotEqual(t, blank, state(f.MemoryStorage, testID))
				require.NotEqual(t, blank, state(g.MemoryStorage, newID))
			})
		}
	}
}

// TestRenewToLosesARace has another writer at the new id before the last step.
func TestRenewToLosesARace(t *testing.T) {
	t.Parallel()
	f := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
	g := &faultyStorage{MemoryStorage: NewMemoryStorage(time.Hour)}
	s := New(testID)
	require.NoError(t, f.MemoryStorage.Store(t.Context(), s))
	g.between = func(call int) {
		if call == 2 {
			require.NoError(t, g.MemoryStorage.Store(t.Context(), New(newID).WithPrincipal("another")))
		}
	}
	_, err := RenewTo(t.Context(), f, s.WithPrincipal("alice"), g, newID)
	require.ErrorIs(t, err, ErrConflict)
	kept, err := g.Load(t.Context(), newID)
	require.NoError(t, err)
	require.Equal(t, "another", kept.Principal(), "what the other one has stored stays")
	require.Zero(t, f.records.Len())
}
