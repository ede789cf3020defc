package handle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

type basket struct {
	Items []string `json:"items"`
	Count int      `json:"count"`
}

func memory() *session.MemoryStorage { return session.NewMemoryStorage(time.Hour) }

func TestLifeOfAHandle(t *testing.T) {
	t.Parallel()
	baskets := New[basket](memory(), "basket").For("alice")
	first, err := baskets.Mint(t.Context(), basket{Count: 1})
	require.NoError(t, err)
	second, err := baskets.Mint(t.Context(), basket{Count: 2})
	require.NoError(t, err)
	require.Len(t, first, 26)
	require.NotEqual(t, first, second)

	changed, err := baskets.Update(t.Context(), first, func(b *basket) error {
		b.Items = append(b.Items, "shoes")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, basket{Items: []string{"shoes"}, Count: 1}, changed)
	loaded, err := baskets.Load(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, changed, loaded)
	loaded.Items[0] = "changed by the caller"
	loaded, err = baskets.Load(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, changed, loaded)

	require.NoError(t, baskets.Delete(t.Context(), first))
	require.NoError(t, baskets.Delete(t.Context(), first), "there is none any more")
	_, err = baskets.Load(t.Context(), first)
	require.ErrorIs(t, err, session.ErrNotFound)
	taken, err := baskets.Take(t.Context(), second)
	require.NoError(t, err)
	require.Equal(t, basket{Count: 2}, taken)
	_, err = baskets.Take(t.Context(), second)
	require.ErrorIs(t, err, session.ErrNotFound)
}

// TestHostileHandles has everything that must look like a handle that never was.
func TestHostileHandles(t *testing.T) {
	t.Parallel()
	st := memory()
	baskets, browsers := New[basket](st, "basket"), New[basket](st, "browser")
	mint := func(store *Store[basket], owner string) string {
		h, err := store.Mint(t.Context(), owner, basket{Count: 7})
		require.NoError(t, err)
		return h
	}
	alices, deleted, taken := mint(baskets, "alice"), mint(baskets, "alice"), mint(baskets, "alice")
	require.NoError(t, baskets.Delete(t.Context(), "alice", deleted))
	_, err := baskets.Take(t.Context(), "alice", taken)
	require.NoError(t, err)
	key, err := baskets.Key("alice", alices)
	require.NoError(t, err)
	_, never := baskets.Load(t.Context(), "alice", "never")

	for name, test := range map[string]struct{ owner, handle string }{
		"a stranger":                 {"mallory", alices},
		"an owner in another case":   {"Alice", alices},
		"an owner that begins alike": {"alice" + alices[:1], alices[1:]},
		"an owner that ends alike":   {"alic", "e" + alices},
		"another kind":               {"alice", mint(browsers, "alice")},
		"deleted":                    {"alice", deleted},
		"taken":                      {"alice", taken},
		"empty":                      {"alice", ""},
		"the key":                    {"alice", key},
		"another case":               {"alice", strings.ToLower(alices)},
		"with a zero byte":           {"alice", alices + "\x00"},
		"with a space":               {"alice", " " + alices},
		"not UTF-8":                  {"alice", "\xff\xfe"},
		"a command":                  {"alice", "*1\r\n$8\r\nFLUSHALL\r\n"},
		"a megabyte":                 {"alice", strings.Repeat("x", 1<<20)},
	} {
		_, err := baskets.Load(t.Context(), test.owner, test.handle)
		require.ErrorIs(t, err, session.ErrNotFound, name)
		require.EqualError(t, err, never.Error(), "%s: one and the same", name)
		_, err = baskets.Update(t.Context(), test.owner, test.handle, func(*basket) error {
			return errors.New("there is something to change")
		})
		require.ErrorIs(t, err, session.ErrNotFound, name)
		_, err = baskets.Take(t.Context(), test.owner, test.handle)
		require.ErrorIs(t, err, session.ErrNotFound, name)
		require.NoError(t, baskets.Delete(t.Context(), test.owner, test.handle), "%s tells nothing either", name)
	}
	kept, err := baskets.Load(t.Context(), "alice", alices)
	require.NoError(t, err)
	require.Equal(t, 7, kept.Count)
}

func TestOwnerIsRequired(t *testing.T) {
	t.Parallel()
	unusable := New[basket](nothing{}, "basket")
	for name, call := range map[string]func() error{
		"mint":   func() error { _, err := unusable.Mint(t.Context(), "", basket{}); return err },
		"load":   func() error { _, err := unusable.Load(t.Context(), "", "h"); return err },
		"update": func() error { _, err := unusable.Update(t.Context(), "", "h", nil); return err },
		"take":   func() error { _, err := unusable.Take(t.Context(), "", "h"); return err },
		"delete": func() error { return unusable.Delete(t.Context(), "", "h") },
		"key":    func() error { _, err := unusable.Key("", "h"); return err },
		"revoke": func() error { _, err := unusable.Revoke(t.Context(), ""); return err },
	} {
		require.ErrorIs(t, call(), ErrNoOwner, name)
	}

	st := &spy{MemoryStorage: memory()}
	anonymous := New[basket](st, "basket", Anonymous())
	h, err := anonymous.Mint(t.Context(), "", basket{Count: 3})
	require.NoError(t, err)
	require.Empty(t, st.stored.Principal())
	loaded, err := anonymous.Load(t.Context(), "", h)
	require.NoError(t, err)
	require.Equal(t, 3, loaded.Count)
	_, err = anonymous.Load(t.Context(), "alice", h)
	require.ErrorIs(t, err, session.ErrNotFound)
	revoked, err := New[basket](&revoker{st, ""}, "basket", Anonymous()).Revoke(t.Context(), "")
	require.NoError(t, err)
	require.Zero(t, revoked)
}

func TestUpdatesOfManyCallers(t *testing.T) {
	t.Parallel()
	const callers = 50
	baskets := New[basket](memory(), "basket").For("alice")
	h, err := baskets.Mint(t.Context(), basket{})
	require.NoError(t, err)
	var calls sync.WaitGroup
	var tries atomic.Int64
	for range callers {
		calls.Go(func() {
			_, err := baskets.Update(t.Context(), h, func(b *basket) error {
				tries.Add(1)
				b.Count++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	loaded, err := baskets.Load(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, callers, loaded.Count, "after %d tries", tries.Load())
}

func TestTakeByManyCallers(t *testing.T) {
	t.Parallel()
	baskets := New[basket](memory(), "basket").For("alice")
	h, err := baskets.Mint(t.Context(), basket{})
	require.NoError(t, err)
	var calls sync.WaitGroup
	var got atomic.Int64
	for range 50 {
		calls.Go(func() {
			switch _, err := baskets.Take(t.Context(), h); {
			case err == nil:
				got.Add(1)
			case !errors.Is(err, session.ErrNotFound):
				t.Error(err)
			}
		})
	}
	calls.Wait()
	require.EqualValues(t, 1, got.Load())
}

func TestUpdateThatChangesNothing(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	baskets := New[basket](st, "basket").For("alice")
	h, err := baskets.Mint(t.Context(), basket{Count: 1})
	require.NoError(t, err)
	st.stored = nil
	same, err := baskets.Update(t.Context(), h, func(*basket) error { return nil })
	require.NoError(t, err)
	require.Equal(t, basket{Count: 1}, same)
	require.Nil(t, st.stored)

	sold := errors.New("sold out")
	failed, err := baskets.Update(t.Context(), h, func(b *basket) error {
		b.Count = 2
		return sold
	})
	require.Equal(t, sold, err)
	require.Zero(t, failed)
	require.Nil(t, st.stored)
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		baskets := New[basket](memory(), "basket", WithMaxLifetime(3*time.Hour)).For("alice")
		idle, err := baskets.Mint(t.Context(), basket{})
		require.NoError(t, err)
		used, err := baskets.Mint(t.Context(), basket{})
		require.NoError(t, err)
		for range 3 {
			time.Sleep(59 * time.Minute)
			_, err = baskets.Update(t.Context(), used, func(b *basket) error { b.Count++; return nil })
			require.NoError(t, err)
		}
		_, err = baskets.Load(t.Context(), idle)
		require.ErrorIs(t, err, session.ErrNotFound)
		time.Sleep(3*time.Minute - time.Microsecond)
		_, err = baskets.Load(t.Context(), used)
		require.NoError(t, err)
		time.Sleep(time.Microsecond)
		_, err = baskets.Load(t.Context(), used)
		require.ErrorIs(t, err, session.ErrNotFound, "changes do not move the end")
	})
}

func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	baskets := New[basket](st, "basket", WithIdleTimeout(time.Minute), WithMaxLifetime(time.Hour))
	h, err := baskets.Mint(t.Context(), "alice", basket{Count: 1})
	require.NoError(t, err)
	first := st.stored
	require.Equal(t, time.Minute, first.IdleTimeout())
	require.Equal(t, first.CreatedAt().Add(time.Hour), first.ExpiresAt())
	require.JSONEq(t, `{"items":null,"count":1}`, string(first.Data()))
	key, err := baskets.For("alice").Key(h)
	require.NoError(t, err)
	require.Equal(t, first.ID(), key)
	all := fmt.Sprint(first.Record())
	require.NotContains(t, all, h)
	require.NotContains(t, all, "alice")

	_, err = baskets.Mint(t.Context(), "alice", basket{})
	require.NoError(t, err)
	require.Equal(t, first.Principal(), st.stored.Principal(), "an owner has one index")
	_, err = baskets.Mint(t.Context(), "bob", basket{})
	require.NoError(t, err)
	require.NotEqual(t, first.Principal(), st.stored.Principal())
	_, err = New[basket](st, "browser").Mint(t.Context(), "alice", basket{})
	require.NoError(t, err)
	require.NotEqual(t, first.Principal(), st.stored.Principal(), "for each kind")
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	with := &revoker{spy: st}
	baskets := New[basket](with, "basket").For("alice")
	_, err := baskets.Mint(t.Context(), basket{})
	require.NoError(t, err)
	n, err := baskets.Revoke(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, st.stored.Principal(), with.principal)

	_, err = New[basket](nothing{}, "basket").Revoke(t.Context(), "alice")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = New[basket](nothing{}, "basket").Take(t.Context(), "alice", "h")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// hidden has a text that must not be shown, and fails to decode with it.
type hidden string

func (h *hidden) UnmarshalJSON(data []byte) error { return fmt.Errorf("cannot decode %s", data) }

func TestValuesOfAnotherType(t *testing.T) {
	t.Parallel()
	st := memory()
	h, err := New[string](st, "kind").Mint(t.Context(), "alice", "secret")
	require.NoError(t, err)
	_, err = New[int](st, "kind").Load(t.Context(), "alice", h)
	require.ErrorIs(t, err, session.ErrCorrupt)
	require.EqualError(t, err, "handle: load: the stored value is none of this type")
	_, err = New[hidden](st, "kind").Update(t.Context(), "alice", h, func(*hidden) error { return nil })
	require.ErrorIs(t, err, session.ErrCorrupt)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "secret")

	_, err = New[func()](st, "function").Mint(t.Context(), "alice", nil)
	require.ErrorIs(t, err, session.ErrEncode)
	_, err = New[float64](st, "float").Mint(t.Context(), "alice", 1)
	require.NoError(t, err)
	large := strings.Repeat("x", 2<<20)
	_, err = New[string](st, "string").Mint(t.Context(), "alice", large)
	require.ErrorIs(t, err, session.ErrTooLarge)
}

func TestNewRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"no storage":        func() { New[int](nil, "kind") },
		"no kind":           func() { New[int](memory(), "") },
		"no end":            func() { New[int](memory(), "kind", WithIdleTimeout(session.NoIdleTimeout)) },
		"negative lifetime": func() { WithMaxLifetime(-1) },
	} {
		require.Panics(t, f, name)
	}
	require.NotPanics(t, func() {
		New[int](memory(), "kind", WithMaxLifetime(time.Hour), WithIdleTimeout(session.NoIdleTimeout))
	})
}

// FuzzKey looks for two triples with one key, beside the handle that fits.
func FuzzKey(f *testing.F) {
	f.Add("kind", "owner", "handle", "kind", "owner", "handle")
	f.Add("kind", "owner", "handle", "kin", "downer", "handle")
	f.Add("a", "b\x00c", "d", "a", "b", "c\x00d")
	f.Add("a", "", "c", "b", "", "c")
	f.Fuzz(func(t *testing.T, kind1, owner1, handle1, kind2, owner2, handle2 string) {
		one, two := Store[int]{kind: kind1}, Store[int]{kind: kind2}
		one.anonymous, two.anonymous = true, true
		key1, err1 := one.Key(owner1, handle1)
		key2, err2 := two.Key(owner2, handle2)
		require.NoError(t, errors.Join(err1, err2))
		require.NoError(t, session.ValidateID(key1))
		same := kind1 == kind2 && owner1 == owner2 && handle1 == handle2
		require.Equal(t, same, key1 == key2)
		samePrincipal := owner1 == owner2 && (owner1 == "" || kind1 == kind2) // a value without an owner has none
		require.Equal(t, samePrincipal, one.principal(owner1) == two.principal(owner2))
	})
}

// spy keeps what was stored last. It is not safe for concurrent use.
type spy struct {
	*session.MemoryStorage
	stored *session.Session
}

func (s *spy) Store(ctx context.Context, stored *session.Session) error {
	s.stored = stored
	return s.MemoryStorage.Store(ctx, stored)
}

type revoker struct {
	*spy
	principal string
}

func (r *revoker) Revoke(_ context.Context, principal string) (int, error) {
	r.principal = principal
	return 3, nil
}

// nothing has the four methods of a storage, none of which may be called.
type nothing struct{ session.Storage }
