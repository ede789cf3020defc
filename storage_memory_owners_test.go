package session

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// storeMany stores sessions of one principal.
func storeMany(t *testing.T, m *MemoryStorage, principal string, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, m.Store(t.Context(), New(fmt.Sprint(principal, "-", i)).WithPrincipal(principal)))
	}
}

// TestRevokeOfManySessions: all are gone, each removal is reported once, and a watcher misses none.
func TestRevokeOfManySessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryStorage(time.Hour)
		storeMany(t, m, "p", 10_000)
		storeMany(t, m, "q", 10)
		ctx, cancel := context.WithCancel(t.Context())
		removed, gaps := map[string]uint64{}, 0
		watched := later(func() error {
			return m.Watch(ctx, time.Hour, func(e Event) {
				switch e := e.(type) {
				case Removed:
					removed[e.ID] += e.Revision
				case Gap:
					gaps++
				}
			})
		})
		synctest.Wait()
		n, err := m.Revoke(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, 10_000, n)
		require.Equal(t, 10, m.records.Len())
		synctest.Wait()
		require.Len(t, removed, 10_000)
		for _, revision := range removed {
			require.NotZero(t, revision)
		}
		require.Equal(t, 1, gaps)
		cancel()
		require.ErrorIs(t, <-watched, context.Canceled)
	})
}

func TestRevokeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	m := NewMemoryStorage(time.Hour)
	storeMany(t, m, "p", 5000)
	n, err := m.Revoke(&endsLater{Context: t.Context(), left: 3}, "p")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3000, n)
	require.Equal(t, 2000, m.records.Len())
	listed := 0
	for s, err := range m.Sessions(&endsLater{Context: t.Context(), left: 100}, "p") {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.Nil(t, s)
			continue
		}
		listed++
	}
	require.Equal(t, 99, listed, "one look at the context comes before the first session")
}

// TestOwnersAgainstAModel compares a storage with a plain map, over random calls.
func TestOwnersAgainstAModel(t *testing.T) {
	t.Parallel()
	const limit, ttl = 5, time.Minute
	for _, policy := range []OwnerPolicy{RefuseNew, EndIdlest} {
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, uint64(policy)))
				m := NewMemoryStorage(ttl, WithOwnerLimit(limit, policy))
				model := ownerModel{ttl: ttl, limit: limit, policy: policy, sessions: map[string]modelled{}}
				for range 500 {
					time.Sleep(time.Duration(rng.IntN(int(ttl / 20))))
					id, owner := fmt.Sprint("id-", rng.IntN(20)), []string{"", "p", "q"}[rng.IntN(3)]
					switch rng.IntN(10) {
					case 0:
						require.NoError(t, m.Delete(t.Context(), id))
						delete(model.sessions, id)
					case 1:
						_, err := m.Load(t.Context(), id)
						require.Equal(t, model.use(id), err == nil)
					case 2:
						n, err := m.Revoke(t.Context(), owner)
						require.NoError(t, err)
						require.Equal(t, model.revoke(owner), n)
					default:
						s := New(id).WithPrincipal(owner)
						if rng.IntN(2) == 0 {
							s = s.WithIdleTimeout(time.Duration(rng.IntN(int(2 * ttl))))
						}
						err := m.Store(t.Context(), s)
						require.ErrorIs(t, err, model.store(s))
					}
					for _, owner := range []string{"", "p", "q"} {
						var ids []string
						for s, err := range m.Sessions(t.Context(), owner) {
							require.NoError(t, err)
							require.Equal(t, owner, s.Principal())
							ids = append(ids, s.ID())
						}
						require.ElementsMatch(t, model.owned(owner), ids, "seed %d", seed)
					}
				}
			})
		}
	}
}

type ownerModel struct {
	ttl      time.Duration
	limit    int
	policy   OwnerPolicy
	sessions map[string]modelled
}

type modelled struct {
	owner  string
	idle   time.Duration
	usedAt time.Time
}

// live removes what is over.
func (o *ownerModel) live() map[string]modelled {
	maps.DeleteFunc(o.sessions, func(_ string, s modelled) bool { return time.Since(s.usedAt) >= s.idle })
	return o.sessions
}

func (o *ownerModel) owned(owner string) []string {
	var ids []string
	for id, s := range o.live() {
		if s.owner == owner && owner != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *ownerModel) use(id string) bool {
	s, ok := o.live()[id]
	if ok {
		s.usedAt = time.Now()
		o.sessions[id] = s
	}
	return ok
}

func (o *ownerModel) revoke(owner string) int {
	ids := o.owned(owner)
	for _, id := range ids {
		delete(o.sessions, id)
	}
	return len(ids)
}

func (o *ownerModel) store(s *Session) error {
	owned := o.owned(s.Principal())
	if len(owned) == o.limit && !slices.Contains(owned, s.ID()) {
		if o.policy == RefuseNew {
			return ErrTooMany
		}
		delete(o.sessions, slices.MinFunc(owned, func(a, b string) int {
			return o.sessions[a].usedAt.Compare(o.sessions[b].usedAt)
		}))
	}
	idle := s.IdleTimeout()
	if idle == 0 {
		idle = o.ttl
	}
	o.sessions[s.ID()] = modelled{s.Principal(), idle, time.Now()}
	return nil
}

// TestLimitCountsLiveSessions: what is over makes room, also before it is removed.
func TestLimitCountsLiveSessions(t *testing.T) {
	t.Parallel()
	for _, policy := range []OwnerPolicy{RefuseNew, EndIdlest} {
		synctest.Test(t, func(t *testing.T) {
			const limit = 20
			m := NewMemoryStorage(time.Hour, WithOwnerLimit(limit, policy))
			live := New(testID).WithPrincipal("p")
			require.NoError(t, m.Store(t.Context(), live))
			for i := range limit - 1 {
				s := New(fmt.Sprint("id-", i)).WithPrincipal("p").WithExpiresAt(time.Now().Add(time.Minute))
				require.NoError(t, m.Store(t.Context(), s))
			}
			time.Sleep(time.Minute)
			storeMany(t, m, "p", limit-1)
			_, err := m.Load(t.Context(), testID)
			require.NoError(t, err)
		})
	}
}

func TestSessionsOfAnOwnerThatChanges(t *testing.T) {
	t.Parallel()
	m := NewMemoryStorage(time.Hour)
	storeMany(t, m, "p", 10)
	var seen []*Session
	for s, err := range m.Sessions(t.Context(), "p") {
		require.NoError(t, err)
		seen = append(seen, s)
		for i := range 10 {
			_, err := Update(t.Context(), m, fmt.Sprint("p-", i), func(s *Session) (*Session, error) {
				return s.WithPrincipal("q"), nil
			})
			require.NoError(t, err)
		}
	}
	require.Len(t, seen, 1, "the others have another owner by now")
}
