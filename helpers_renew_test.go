package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

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
