package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ownedRemote is a stagedRemote whose Revoke a test can stop, too, and that may lie about its sessions.
type ownedRemote struct {
	*stagedRemote

	lists []*Session // what Sessions returns; nil: the truth
	fails error      // what Sessions ends with
}

func (r *ownedRemote) Revoke(ctx context.Context, principal string) (int, error) {
	if err := r.pass("revoke", "request"); err != nil {
		return 0, err
	}
	n, err := r.MemoryStorage.Revoke(context.WithoutCancel(ctx), principal)
	if lost := r.pass("revoke", "reply"); lost != nil {
		return n, lost
	}
	return n, err
}

func (r *ownedRemote) Sessions(ctx context.Context, principal string) iter.Seq2[*Session, error] {
	return func(yield func(*Session, error) bool) {
		for _, s := range r.lists {
			if !yield(s, nil) {
				return
			}
		}
		if r.fails != nil {
			yield(nil, r.fails)
			return
		}
		for s, err := range r.MemoryStorage.Sessions(ctx, principal) {
			if !yield(s, err) {
				return
			}
		}
	}
}

func inOwnedBubble(t *testing.T, test func(t *testing.T, remote *ownedRemote, st *RoutingStorage)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := &ownedRemote{stagedRemote: newStagedRemote(10 * time.Minute)}
		st := NewRoutingStorage(remote, 100)
		defer func() { require.NoError(t, st.Close()) }()
		defer remote.releaseAll()
		test(t, remote, st)
	})
}

func TestRevokeReachesLocalCopies(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		other := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, other.Close()) }()
		for i := range 10 {
			s := New(fmt.Sprint("id-", i)).WithPrincipal([]string{"p", "q"}[i%2])
			require.NoError(t, remote.Store(t.Context(), s))
			for _, replica := range []*RoutingStorage{st, other} {
				_, err := replica.Load(t.Context(), s.ID())
				require.NoError(t, err)
			}
		}
		n, err := st.Revoke(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, 5, n)
		loads := remote.loadCount()
		for i := range 10 {
			_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
			if i%2 == 0 {
				require.ErrorIs(t, err, ErrNotFound)
			} else {
				require.NoError(t, err)
			}
			_, err = other.Load(t.Context(), fmt.Sprint("id-", i))
			require.NoError(t, err, "through another replica it takes a while")
		}
		require.Equal(t, loads+5, remote.loadCount(), "copies of others stay")
		time.Sleep(staleness)
		_, err = other.Load(t.Context(), "id-0")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestNothingRevokedBecomesACopy(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		for name, call := range map[string]func() error{
			"load":  func() error { _, err := st.Load(t.Context(), testID); return err },
			"store": func() error { return st.Store(t.Context(), New(testID).WithPrincipal("p")) },
		} {
			require.NoError(t, remote.MemoryStorage.Store(t.Context(), New(testID).WithPrincipal("p")))
			release := remote.hold(name, "reply")
			done := later(call)
			synctest.Wait() // the remote has answered, and the answer is on its way
			n, err := st.Revoke(t.Context(), "p")
			require.NoError(t, err)
			require.Equal(t, 1, n)
			release()
			require.NoError(t, <-done, name)
			require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound, name)
		}
	})
}

// TestCopyDuringARevoke: a load during the call may make a copy, which is dropped in the end.
func TestCopyDuringARevoke(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID).WithPrincipal("p")))
		release := remote.hold("revoke", "request")
		revoked := later(func() error { _, err := st.Revoke(t.Context(), "p"); return err })
		synctest.Wait()
		_, err := st.LoadFresh(t.Context(), testID)
		require.NoError(t, err)
		release()
		require.NoError(t, <-revoked)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
	})
}

func TestRevokeThatFails(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		for way, want := range map[string]struct {
			n   int
			err error
		}{"request": {0, nil}, "reply": {1, ErrNotFound}} {
			require.NoError(t, st.Store(t.Context(), New(testID).WithPrincipal("p")))
			remote.fail("revoke", way, errLink)
			n, err := st.Revoke(t.Context(), "p")
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, want.n, n, "it is known all the same")
			loads := remote.loadCount()
			require.ErrorIs(t, loadNow(t.Context(), st).err, want.err)
			require.Equal(t, loads+1, remote.loadCount(), "the remote is asked what became of them")
		}
	})
}

func TestRevokeWithFencing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		a, b := NewRoutingStorage(m, 100, WithFencing()), NewRoutingStorage(m, 100, WithFencing())
		defer func() {
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		}()
		time.Sleep(2 * staleness)
		load := func(st *RoutingStorage, i int) error {
			_, err := st.Load(t.Context(), fmt.Sprint("id-", i))
			return err
		}
		for range 200 {
			for i := range 5 {
				require.NoError(t, a.Store(t.Context(), New(fmt.Sprint("id-", i)).WithPrincipal("p")))
				require.NoError(t, load(b, i))
			}
			n, err := a.Revoke(t.Context(), "p")
			require.NoError(t, err)
			require.Equal(t, 5, n)
			for i := range 5 {
				require.ErrorIs(t, load(b, i), ErrNotFound, "the next request, through another replica")
				require.ErrorIs(t, load(a, i), ErrNotFound)
			}
		}
		require.NoError(t, a.Store(t.Context(), New(testID).WithPrincipal("p")))
		ctx, cancel := context.WithCancel(t.Context())
		remote := a.revoker
		a.revoker = revokerFunc(func(ctx context.Context, principal string) (int, error) {
			defer cancel()
			return remote.Revoke(ctx, principal)
		})
		n, err := a.Revoke(ctx, "p")
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, n, "the fence has failed, and not the revocation")
	})
}

// TestRevokeOfNoOwner: "" is no owner, so the copies of sessions that have none stay.
func TestRevokeOfNoOwner(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		require.NoError(t, st.Store(t.Context(), New(testID)))
		n, err := st.Revoke(t.Context(), "")
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, loadNow(t.Context(), st).err)
		require.Zero(t, remote.loadCount())
		require.NoError(t, st.Close())
		_, err = st.Revoke(t.Context(), "")
		require.ErrorIs(t, err, ErrClosed)
	})
}

type revokerFunc func(ctx context.Context, principal string) (int, error)

func (f revokerFunc) Revoke(ctx context.Context, principal string) (int, error) {
	return f(ctx, principal)
}

func TestSessionsThroughARoutingStorage(t *testing.T) {
	inOwnedBubble(t, func(t *testing.T, remote *ownedRemote, st *RoutingStorage) {
		ids := func() (ids []string, err error) {
			for s, e := range st.Sessions(t.Context(), "p") {
				if err = e; err == nil {
					ids = append(ids, s.ID())
				}
			}
			return ids, err
		}
		require.NoError(t, remote.Store(t.Context(), New(testID).WithPrincipal("p")))
		got, err := ids()
		require.NoError(t, err)
		require.Equal(t, []string{testID}, got)
		require.Zero(t, st.Stats().Entries, "it makes no copies")

		ends := New("ends").WithPrincipal("p").WithExpiresAt(time.Now().Add(time.Second))
		remote.lists = []*Session{nil, New("anothers").WithPrincipal("q"), ends, New("good").WithPrincipal("p")}
		remote.fails = errLink
		time.Sleep(time.Second)
		got, err = ids()
		require.Equal(t, []string{"good"}, got, "neither those of others, nor what is over")
		require.ErrorIs(t, err, ErrUnavailable)
		for _, err := range st.Sessions(t.Context(), "p") { // a loop may end early
			require.NoError(t, err)
			break
		}
		remote.fails = fmt.Errorf("a row of %s: %w", testID, ErrCorrupt)
		_, err = ids()
		require.ErrorIs(t, err, ErrCorrupt)
		require.NotContains(t, err.Error(), testID)
	})
}

func TestOwnersWithoutTheCapability(t *testing.T) {
	t.Parallel()
	for name, remote := range map[string]Storage{
		"the remote, a session.fourMethods, is not a": fourMethods{NewMemoryStorage(time.Hour)},
		"": revokesNothing{NewMemoryStorage(time.Hour)},
	} {
		st := NewRoutingStorage(remote, 10)
		n, err := st.Revoke(t.Context(), "p")
		require.Zero(t, n)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, name)
		require.Zero(t, st.MaxLifetime())
		asked := 0
		for s, err := range st.Sessions(t.Context(), "p") {
			asked++
			require.Nil(t, s)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			require.ErrorContains(t, err, name)
		}
		require.Equal(t, 1, asked)
		require.NoError(t, st.Close())
	}
}

// revokesNothing has the methods, and says that it supports none. Its maximum lifetime makes no sense.
type revokesNothing struct{ Storage }

func (revokesNothing) Revoke(context.Context, string) (int, error) { return 0, errors.ErrUnsupported }

func (revokesNothing) Sessions(context.Context, string) iter.Seq2[*Session, error] {
	return func(yield func(*Session, error) bool) { yield(nil, errors.ErrUnsupported) }
}

func (revokesNothing) MaxLifetime() time.Duration { return -1 }

// TestMaxLifetimeEndsLocalCopies: the copy of a session that was just stored ends as the remote's does.
func TestMaxLifetimeEndsLocalCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := newStagedRemote(time.Hour)
		remote.MemoryStorage = NewMemoryStorage(time.Hour, WithMaxLifetime(time.Second))
		st := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, st.Close()) }()
		s := New(testID)
		time.Sleep(time.Second / 2)
		require.NoError(t, st.Store(t.Context(), s))
		require.Zero(t, s.ExpiresAt(), "the caller's session stays as it is")
		loaded, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, s.CreatedAt().Add(time.Second), loaded.ExpiresAt())
		stored, err := remote.Peek(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, stored.Record(), loaded.Record())
		require.Equal(t, stored.Revision(), s.Revision())
		time.Sleep(time.Second / 2)
		require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound)
		require.ErrorIs(t, st.Store(t.Context(), New(testID).WithExpiresAt(time.Now())), ErrLifetime)
	})
}

// TestHitsGoByTheOwnIdleTime: under a lease, hits keep a session alive for its own idle time, and no longer.
func TestHitsGoByTheOwnIdleTime(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Minute
	for _, idle := range []time.Duration{8 * time.Millisecond, 10 * time.Second, time.Hour, NoIdleTimeout} {
		synctest.Test(t, func(t *testing.T) {
			remote := NewMemoryStorage(ttl)
			st := NewRoutingStorage(remote, 10)
			defer func() { require.NoError(t, st.Close()) }()
			time.Sleep(2 * staleness)
			require.Equal(t, ModeLeased, st.Stats().Mode)
			for _, id := range []string{testID, "idle-twin"} {
				s := New(id).WithIdleTimeout(idle).WithExpiresAt(time.Now().Add(100 * time.Hour))
				require.NoError(t, st.Store(t.Context(), s))
			}
			period := max(idle, time.Millisecond)
			if idle < 0 {
				period = ttl
			}
			for range 10 * 4 {
				time.Sleep(period / 4)
				require.NoError(t, loadNow(t.Context(), st).err, "%v", idle)
			}
			_, err := st.Load(t.Context(), "idle-twin")
			if idle < 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrNotFound, "%v", idle)
			time.Sleep(idle)
			require.ErrorIs(t, loadNow(t.Context(), st).err, ErrNotFound, "%v", idle)
		})
	}
}

// corruptStorage has a value that is no session.
type corruptStorage struct{ *MemoryStorage }

func (corruptStorage) Load(context.Context, string) (*Session, error) { return nil, ErrCorrupt }

// TestRememberedMisses: unknown ids do not reach the remote, and one that is created elsewhere is found at once.
func TestRememberedMisses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote := NewMemoryStorage(time.Hour)
		a := NewRoutingStorage(remote, 10, WithRememberedMisses(10))
		b := NewRoutingStorage(remote, 10)
		defer func() { require.NoError(t, a.Close()) }()
		defer func() { require.NoError(t, b.Close()) }()
		time.Sleep(3 * time.Second) // now change events flow
		synctest.Wait()
		for i := range 100 {
			_, err := a.Load(t.Context(), "unknown-"+strconv.Itoa(i%10))
			require.ErrorIs(t, err, ErrNotFound)
			require.Equal(t, "session: load: not found", err.Error())
			require.NotContains(t, err.Error(), "unknown")
		}
		stats := a.Stats()
		require.EqualValues(t, 10, stats.RemoteLoads)
		require.EqualValues(t, 90, stats.Unknown)
		require.EqualValues(t, 10, stats.Misses)
		require.Equal(t, 10, stats.Missing)

		require.NoError(t, b.Create(t.Context(), New("unknown-1")))
		synctest.Wait()
		_, err := a.Load(t.Context(), "unknown-1")
		require.NoError(t, err)
		require.Equal(t, 9, a.Stats().Missing)
		_, err = a.Load(t.Context(), "invalid id")
		require.ErrorIs(t, err, ErrInvalidID)
	})
}

func TestCorruptSessionIsNoRememberedMiss(t *testing.T) {
	t.Parallel()
	remote := corruptStorage{NewMemoryStorage(time.Hour)}
	st := NewRoutingStorage(remote, 10, WithRememberedMisses(10))
	defer func() { require.NoError(t, st.Close()) }()
	for range 3 {
		_, err := st.Load(t.Context(), "id")
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.Zero(t, st.Stats().Missing)
}
