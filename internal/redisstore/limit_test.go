package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func limited(client redis.UniversalClient, n int, endIdlest bool) *Store {
	return storeOf(Config{
		Client: client, Prefix: testPrefix, TTL: time.Minute, Owners: true, OwnerLimit: n, EndIdlest: endIdlest,
	})
}

func TestLimitRefusesTheNew(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
		s = limited(s.client, 2, false)
		create := func(id, owner string) error {
			_, err := s.Put(t.Context(), id, Write{Data: []byte(owner + id), Owner: owner, Condition: IfAbsent})
			return err
		}
		require.NoError(t, create("one", alice))
		require.NoError(t, create("two", alice))
		require.Equal(t, ErrTooMany, create("three", alice))
		require.ElementsMatch(t, []string{"one", "two"}, owned(t, s, alice))
		require.NotContains(t, stamps(t, s, alice), "three")
		require.False(t, m.Exists(s.key("three")))
		require.NoError(t, create("three", bob), "the limit is each owner's own")
		require.NoError(t, create("four", ""))

		revision := putFor(t, s, alice, "two") // it is there already
		_, err := s.Put(t.Context(), "two", Write{Owner: alice, Condition: IfRevision(revision)})
		require.NoError(t, err)
		require.NoError(t, s.Delete(t.Context(), "one"))
		require.NoError(t, create("five", alice))
		time.Sleep(2 * time.Minute) // all have expired; the index may still have them
		require.NoError(t, create("six", alice))
		require.NoError(t, create("seven", alice))
		require.Equal(t, ErrTooMany, create("eight", alice))
	})
}

func TestLimitEndsTheIdlest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, s *Store, _ *interceptor) {
		s = limited(s.client, 3, true)
		putFor(t, s, alice, "one")
		time.Sleep(time.Second)
		_, err := s.Put(t.Context(), "long", Write{
			Data: []byte(alice + "long"), Owner: alice, Lifetime: Lifetime{Idle: 30 * 24 * time.Hour},
		})
		require.NoError(t, err)
		time.Sleep(time.Second)
		putFor(t, s, alice, "two")
		time.Sleep(10 * time.Second)
		_, err = s.Get(t.Context(), "one")
		require.NoError(t, err)
		time.Sleep(time.Second)
		putFor(t, s, alice, "three")
		require.ElementsMatch(t, []string{"one", "two", "three"}, owned(t, s, alice), "whatever its lifetime")
		require.NotContains(t, stamps(t, s, alice), "long")
		time.Sleep(time.Second)
		putFor(t, s, alice, "four")
		require.ElementsMatch(t, []string{"one", "three", "four"}, owned(t, s, alice))
		s = limited(s.client, 1, true)
		time.Sleep(time.Microsecond)
		putFor(t, s, alice, "five")
		require.Equal(t, []string{"five"}, owned(t, s, alice), "the limit was lowered")
	})
}

// TestLimitSparesWhatIsThere has an owner with more values than allowed, because the limit was lowered. To replace one
// of them without a condition makes no new one.
func TestLimitSparesWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, endIdlest := range []bool{false, true} {
		inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, s *Store, hook *interceptor) {
			ids := []string{"one", "two", "three"}
			for _, id := range ids {
				putFor(t, s, alice, id)
				time.Sleep(time.Second)
			}
			s = limited(s.client, 1, endIdlest)
			putFor(t, s, alice, "one")
			require.ElementsMatch(t, ids, owned(t, s, alice))
			lost := false
			hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
				err := next(ctx, cmd)
				if args := cmd.Args(); !lost && len(args) > 10 && err == nil { // put.lua
					lost = true
					return io.EOF
				}
				return err
			}
			putFor(t, s, alice, "one")
			hook.script = nil
			require.True(t, lost)
			require.ElementsMatch(t, ids, owned(t, s, alice), "nor if it is found that it was replaced")
		})
	}
}

// TestLimitWithoutIdleTimes has values whose TTL says nothing about their last use: the one that was written first is
// ended, and not one of which a later use is known.
func TestLimitWithoutIdleTimes(t *testing.T) {
	t.Parallel()
	for name, lifetime := range map[string]Lifetime{
		"without an idle time": {Idle: -1, End: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)},
		"soon at its end":      {},
	} {
		inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, s *Store, _ *interceptor) {
			s = limited(s.client, 3, true)
			if lifetime.Idle == 0 {
				lifetime.End = time.Now().Add(40 * time.Second) // before its idle time would be over
			}
			for _, id := range []string{"first", "second"} {
				_, err := s.Put(t.Context(), id, Write{Data: []byte(alice + id), Owner: alice, Lifetime: lifetime})
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
			}
			putFor(t, s, alice, "usual")
			time.Sleep(2 * time.Second)
			putFor(t, s, alice, "third")
			require.ElementsMatch(t, []string{"second", "usual", "third"}, owned(t, s, alice), name)
			time.Sleep(time.Second)
			putFor(t, s, alice, "fourth")
			require.ElementsMatch(t, []string{"usual", "third", "fourth"}, owned(t, s, alice), name)
		})
	}
}

// TestLimitForAnotherOwnersValue gives values of others to an owner who has as many as allowed.
func TestLimitForAnotherOwnersValue(t *testing.T) {
	t.Parallel()
	for _, endIdlest := range []bool{false, true} {
		inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, s *Store, _ *interceptor) {
			s = limited(s.client, 2, endIdlest)
			putFor(t, s, alice, "one")
			time.Sleep(time.Second)
			putFor(t, s, alice, "two")
			revision := putFor(t, s, bob, "his")
			_, err := s.Put(t.Context(), "ownerless", Write{})
			require.NoError(t, err)
			time.Sleep(time.Second)
			_, err = s.Put(t.Context(), "his", Write{
				Data: []byte(alice + "his"), Owner: alice, Condition: IfRevision(revision),
			})
			_, second := s.Put(t.Context(), "ownerless", Write{Data: []byte(alice + "ownerless"), Owner: alice})
			if endIdlest {
				require.NoError(t, errors.Join(err, second))
				require.ElementsMatch(t, []string{"his", "ownerless"}, owned(t, s, alice))
				require.Empty(t, owned(t, s, bob))
				return
			}
			require.Equal(t, ErrTooMany, err)
			require.Equal(t, ErrTooMany, second)
			require.ElementsMatch(t, []string{"one", "two"}, owned(t, s, alice))
			require.Equal(t, []string{"his"}, owned(t, s, bob), "it is as it was")
			require.Len(t, stamps(t, s, alice), 2)
		})
	}
}

// TestLimitWithConcurrentLogins never leaves more values than allowed.
func TestLimitWithConcurrentLogins(t *testing.T) {
	t.Parallel()
	const limit = 5
	for _, endIdlest := range []bool{false, true} {
		t.Run(fmt.Sprint("end the idlest: ", endIdlest), func(t *testing.T) {
			t.Parallel()
			onServers(t, func(t *testing.T, client redis.UniversalClient) {
				s := limited(client, limit, endIdlest)
				var stored, refused atomic.Int64
				for round := range 20 {
					owner := fmt.Sprint("owner-", round)
					var logins sync.WaitGroup
					for i := range 12 {
						logins.Go(func() {
							id := fmt.Sprintf("%d-%d", round, i)
							_, err := s.Put(t.Context(), id, Write{Data: []byte(owner + id), Owner: owner, Condition: IfAbsent})
							switch {
							case err == nil:
								stored.Add(1)
							case errors.Is(err, ErrTooMany):
								refused.Add(1)
							default:
								t.Error(err)
							}
						})
					}
					logins.Wait()
					require.LessOrEqual(t, len(owned(t, s, owner)), limit)
					for i := range limit + 1 { // alone, they get what is theirs
						_, err := s.Put(t.Context(), fmt.Sprintf("%d-late-%d", round, i), Write{
							Data: fmt.Appendf(nil, "%s%d-late-%d", owner, round, i), Owner: owner,
						})
						require.True(t, err == nil || !endIdlest && errors.Is(err, ErrTooMany), "%v", err)
					}
					require.Len(t, owned(t, s, owner), limit)
				}
				t.Log(stored.Load(), "stored", refused.Load(), "refused")
			})
		})
	}
}

// TestLimitSparesWhatIsUsed has the idlest value written between the look and the end: another one is ended.
func TestLimitSparesWhatIsUsed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, plain *Store, hook *interceptor) {
		s := limited(plain.client, 2, true)
		revision := putFor(t, s, alice, "one")
		time.Sleep(time.Second)
		putFor(t, s, alice, "two")
		time.Sleep(time.Second)
		written := false
		hook.pipeline = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			if args := cmds[0].Args(); !written && len(args) == 8 { // revoke.lua
				written = true
				_, err := plain.Put(ctx, "one", Write{Data: []byte(alice + "one"), Owner: alice, Condition: IfRevision(revision)})
				require.NoError(t, err)
			}
			return next(ctx, cmds)
		}
		putFor(t, s, alice, "three")
		require.True(t, written)
		require.ElementsMatch(t, []string{"one", "three"}, owned(t, s, alice))
	})
}

// TestLimitSparesTheLaterWriter has two writers who have both written before either of them counts. Only the later one
// ends the value of the other.
func TestLimitSparesTheLaterWriter(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, plain *Store, _ *interceptor) {
		s := limited(plain.client, 1, true)
		first := putFor(t, plain, alice, "first")
		time.Sleep(time.Millisecond)
		second := putFor(t, plain, alice, "second")
		counting := func(id string) *pendingPut {
			return &pendingPut{store: s, listing: listing{member: id, owner: hashOf(alice)}, events: eventsOf(t, s)}
		}
		require.Equal(t, ErrTooMany, counting("first").makeRoom(t.Context(), first))
		require.ElementsMatch(t, []string{"first", "second"}, owned(t, s, alice))
		require.NoError(t, counting("second").makeRoom(t.Context(), second))
		require.Equal(t, []string{"second"}, owned(t, s, alice))
	})
}

// TestLimitThatCannotBeKept counts what does not answer: the login fails, and is not called successful.
func TestLimitThatCannotBeKept(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, _ *miniredis.Miniredis, s *Store, hook *interceptor) {
		s = limited(s.client, 1, false)
		putFor(t, s, alice, "one")
		hook.pipeline = func(_ context.Context, cmds []redis.Cmder, _ redis.ProcessPipelineHook) error {
			cmds[0].SetErr(errCrash)
			return errCrash
		}
		_, err := s.Put(t.Context(), "two", Write{Owner: alice})
		require.ErrorIs(t, err, errCrash)
		require.NotErrorIs(t, err, ErrTooMany)
	})
}
