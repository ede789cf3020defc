package redisstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/errs"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

const alice, bob = "https://issuer.example alice", "https://issuer.example bob"

func withOwners(client redis.UniversalClient) *Store {
	return storeOf(Config{Client: client, Prefix: testPrefix, TTL: time.Minute, Owners: true})
}

// putFor stores a value of an owner, whatever is there.
func putFor(t *testing.T, s *Store, owner, id string) (revision uint64) {
	t.Helper()
	revision, err := s.Put(t.Context(), id, Write{Data: []byte(owner + id), Owner: owner})
	require.NoError(t, err)
	return revision
}

// stamps returns what the index of an owner has.
func stamps(t *testing.T, s *Store, owner string) map[string]string {
	t.Helper()
	all, err := s.client.ZRangeWithScores(t.Context(), s.index(hashOf(owner)), 0, -1).Result()
	require.NoError(t, err)
	found := make(map[string]string)
	for _, z := range all {
		found[z.Member.(string)] = fmt.Sprintf("%016x", int64(z.Score))
	}
	return found
}

// stampOf returns the stamp in a value's header; "" if there is no value.
func stampOf(t *testing.T, s *Store, id string) string {
	t.Helper()
	stored := s.client.Get(t.Context(), s.key(id)).Val()
	l, _ := listingOf(id, stored)
	return l.stamp
}

// owned returns the ids of an owner's values.
func owned(t *testing.T, s *Store, owner string) (ids []string) {
	t.Helper()
	for o, err := range s.Owned(t.Context(), owner) {
		require.NoError(t, err)
		require.Equal(t, owner+o.ID, string(o.Data))
		ids = append(ids, o.ID)
	}
	return ids
}

func TestOwnersIndex(t *testing.T) {
	t.Parallel()
	m, client, log := embedded.Start(t)
	s := withOwners(client)
	ctx := t.Context()
	start := time.UnixMilli(1_800_000_000_000)
	m.SetTime(start)
	putFor(t, s, alice, "warm-up")
	require.NoError(t, s.Delete(ctx, "warm-up"))
	require.Empty(t, m.Keys(), "an index without values is no key")
	log.Take()

	revision := putFor(t, s, alice, "one")
	require.Equal(t, []string{"EVALSHA", "EVALSHA"}, log.Take(), "the index, then the value")
	key := "app: !owner " + hashOf(alice)
	require.ElementsMatch(t, []string{"app: one", key}, m.Keys())
	require.Regexp(t, "^app: !owner [0-9a-f]{32}$", key)
	listed := fmt.Sprintf("%016x", start.Add(2*time.Minute).UnixMicro()) // a TTL, and as much slack
	require.Equal(t, map[string]string{"one": listed}, stamps(t, s, alice))
	require.Equal(t, listed, stampOf(t, s, "one"))
	require.Equal(t, time.Minute, m.TTL("app: one"))
	require.Equal(t, 3*time.Minute, m.TTL(key))

	_, err := s.Put(ctx, "one", Write{Data: []byte(alice + "one"), Owner: alice, Condition: IfRevision(revision)})
	require.NoError(t, err)
	require.Equal(t, stamps(t, s, alice)["one"], stampOf(t, s, "one"))
	require.Greater(t, stampOf(t, s, "one"), listed, "no stamp is used twice, although the clock stands still")
	putFor(t, s, bob, "his")
	put(t, s, "ownerless")
	require.Equal(t, []string{"one"}, owned(t, s, alice))
	require.Equal(t, []string{"his"}, owned(t, s, bob))

	log.Take()
	require.NoError(t, s.Delete(ctx, "one"))
	require.Equal(t, []string{"EVALSHA", "EVALSHA"}, log.Take())
	require.Empty(t, stamps(t, s, alice))
	_, _, err = s.Take(ctx, "his")
	require.NoError(t, err)
	require.Equal(t, []string{"app: ownerless"}, m.Keys())
}

// TestLongListings has values of any lifetime: each is listed for longer than it lives.
func TestLongListings(t *testing.T) {
	t.Parallel()
	m, client, _ := embedded.Start(t)
	s := withOwners(client)
	start := time.UnixMilli(1_800_000_000_000)
	m.SetTime(start)
	last := time.UnixMicro(1<<52 - 1)
	whenListed := time.Duration(start.Unix()) * time.Microsecond // of a value that lives until its end
	for _, test := range []struct {
		lifetime      Lifetime
		lives, listed time.Duration
	}{
		{Lifetime{Idle: time.Second}, time.Second, 2 * time.Second},
		{Lifetime{Idle: 30 * 24 * time.Hour}, 30 * 24 * time.Hour, 30*24*time.Hour + time.Hour},
		{
			Lifetime{Idle: time.Hour, End: start.Add(time.Minute)},
			time.Minute - 1e6, time.Minute + time.Hour - 1e6 + whenListed,
		},
		{Lifetime{Idle: -1, End: start.Add(48 * time.Hour)}, 48*time.Hour - 1e6, 49*time.Hour - 1e6 + whenListed},
		{Lifetime{Idle: 1<<63 - 1}, last.Sub(start), last.Sub(start)},
		{Lifetime{Idle: -1, End: start.AddDate(2000, 0, 0)}, last.Sub(start), last.Sub(start)},
	} {
		_, err := s.Put(t.Context(), testID, Write{Lifetime: test.lifetime, Owner: alice})
		require.NoError(t, err)
		require.Equal(t, test.lives.Truncate(time.Millisecond), m.TTL(s.key(testID)))
		require.Equal(t, fmt.Sprintf("%016x", start.Add(test.listed).UnixMicro()), stampOf(t, s, testID))
		_, err = s.Get(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, test.lives.Truncate(time.Millisecond), m.TTL(s.key(testID)))
		require.Equal(t, fmt.Sprintf("%016x", start.Add(test.listed).UnixMicro()), stampOf(t, s, testID), "not due")
		require.NoError(t, s.Delete(t.Context(), testID))
		require.Empty(t, m.Keys())
	}
}

// inBubble runs a test in a bubble, where the server's keys expire by the bubble's clock.
func inBubble(t *testing.T, test func(t *testing.T, m *miniredis.Miniredis, s *Store, hook *interceptor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, client, _ := embedded.StartInBubble(t)
		hook := new(interceptor)
		client.AddHook(hook)
		defer m.Close()
		defer func() { require.NoError(t, client.Close()) }()
		test(t, m, withOwners(client), hook)
	})
}

// requireListed checks that an index names a value that lives, for at least as long as it can live.
func requireListed(t *testing.T, s *Store, owner, id string) {
	t.Helper()
	require.Contains(t, stamps(t, s, owner), id)
	require.GreaterOrEqual(t, stamps(t, s, owner)[id], stampOf(t, s, id))
	var micros int64
	_, err := fmt.Sscanf(stampOf(t, s, id), "%x", &micros)
	require.NoError(t, err)
	require.LessOrEqual(t, s.client.PTTL(t.Context(), s.key(id)).Val(), time.Until(time.UnixMicro(micros)))
}

// TestUsesKeepAListing keeps values alive for many idle times, by loads alone and by revalidations alone.
func TestUsesKeepAListing(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(ctx context.Context, s *Store, revision uint64) error{
		"loads": func(ctx context.Context, s *Store, _ uint64) error { _, err := s.Get(ctx, testID); return err },
		"revalidations": func(ctx context.Context, s *Store, revision uint64) error {
			unchanged, err := s.Unchanged(ctx, []Use{
				{ID: "another", Revision: 1}, {ID: testID, Revision: revision, Idle: 10 * time.Second},
			})
			if err == nil && !unchanged[1] {
				err = ErrMissing
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
				revision := putFor(t, s, alice, testID)
				for range 100 {
					time.Sleep(45 * time.Second)
					require.NoError(t, use(t.Context(), s, revision))
					requireListed(t, s, alice, testID)
					require.GreaterOrEqual(t, m.TTL(s.key(testID)), 50*time.Second)
				}
				require.Equal(t, []string{testID}, owned(t, s, alice))
				ended, err := s.Revoke(t.Context(), alice)
				require.NoError(t, err)
				require.Equal(t, 1, ended)
				require.Empty(t, m.Keys())
			})
		})
	}
}

// TestIdleValuesLeaveTheIndex has values that are not used: the index is empty within idle time, slack and a minute.
func TestIdleValuesLeaveTheIndex(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
		putFor(t, s, alice, "idle")
		time.Sleep(time.Minute + time.Second)
		require.Empty(t, owned(t, s, alice), "it is gone, and left out")
		putFor(t, s, alice, "busy")
		for range 10 {
			time.Sleep(30 * time.Second)
			_, err := s.Get(t.Context(), "busy")
			require.NoError(t, err)
		}
		require.Equal(t, []string{"busy"}, owned(t, s, alice))
		require.NotContains(t, stamps(t, s, alice), "idle", "a reader removes what is over")
		time.Sleep(3*time.Minute + 31*time.Second)
		require.Empty(t, m.Keys())
	})
}

// TestIndexHeals deletes an index by hand. The values that are used are in it again after a quarter of the slack.
func TestIndexHeals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		idle, end, quarter time.Duration
	}{
		"the store's idle time":    {quarter: 15 * time.Second},
		"until its end":            {end: 50 * time.Second, quarter: 15 * time.Second},
		"only until its end":       {idle: -1, end: 90 * 24 * time.Hour, quarter: 15 * time.Minute},
		"until its end in the end": {idle: time.Hour, end: 70 * time.Minute, quarter: 15 * time.Minute},
	} {
		inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
			lifetime := Lifetime{Idle: test.idle}
			if test.end > 0 {
				lifetime.End = time.Now().Add(test.end)
			}
			_, err := s.Put(t.Context(), testID, Write{Data: []byte(alice + testID), Owner: alice, Lifetime: lifetime})
			require.NoError(t, err)
			for range 3 {
				m.Del(s.index(hashOf(alice)))
				_, err := s.Get(t.Context(), testID)
				require.NoError(t, err)
				require.Empty(t, owned(t, s, alice), "%s: not at once", name)
				for range 2 {
					time.Sleep(test.quarter/2 + time.Second)
					_, err := s.Get(t.Context(), testID)
					require.NoError(t, err)
				}
				require.Equal(t, []string{testID}, owned(t, s, alice), name)
				requireListed(t, s, alice, testID)
				if test.end == 50*time.Second {
					break
				}
			}
		})
	}
}

// TestIndexThatIsAway has no answer from an index for a while. Loads go on, but the value does not outlive its listing.
func TestIndexThatIsAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, hook *interceptor) {
		revision := putFor(t, s, alice, testID)
		stored := time.Now()
		lists := 0
		hook.pipeline = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
			if strings.Contains(fmt.Sprint(cmds[0].Args()[3]), "!owner") {
				lists++
				<-ctx.Done() // it does not answer
				cmds[0].SetErr(ctx.Err())
				return ctx.Err()
			}
			return next(ctx, cmds)
		}
		for time.Since(stored) < 2*time.Minute-time.Second {
			began := time.Now()
			_, err := s.Get(t.Context(), testID)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), upkeepTimeout)
			requireListed(t, s, alice, testID)
			again := time.Now()
			_, err = s.Unchanged(t.Context(), []Use{{ID: testID, Revision: revision}})
			require.NoError(t, err)
			require.Zero(t, time.Since(again), "another call is not delayed at once")
			time.Sleep(10*time.Second - time.Since(began))
		}
		require.Greater(t, lists, 5)
		require.EqualValues(t, lists, s.FailedListings())
		time.Sleep(11 * time.Second)
		_, err := s.Get(t.Context(), testID)
		require.Equal(t, ErrMissing, err, "it ends with its listing")

		hook.pipeline = nil
		putFor(t, s, alice, testID)
		require.True(t, m.Exists(s.index(hashOf(alice))))
	})
}

// TestIndexOnAReplica asks a server that takes no writes: its index may be old.
func TestIndexOnAReplica(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	s := withOwners(client)
	putFor(t, s, alice, testID)
	require.NoError(t, client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	for _, owner := range []string{alice, bob} {
		_, err := s.Revoke(t.Context(), owner)
		require.ErrorContains(t, err, "READONLY")
		for _, err := range s.Owned(t.Context(), owner) {
			require.ErrorContains(t, err, "READONLY")
		}
	}
	_, err := s.Put(t.Context(), testID, Write{Owner: alice})
	require.ErrorContains(t, err, "READONLY")
}

// TestFullServerRenewsListings: a server without memory takes no new values, but those it has live on with their uses.
func TestFullServerRenewsListings(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := withOwners(client)
	ctx := t.Context()
	_, err := s.Put(ctx, testID, Write{Data: []byte(alice + testID), Owner: alice})
	require.NoError(t, err)
	_, err = s.Get(ctx, testID)
	require.NoError(t, err)
	before := stampOf(t, s, testID)
	// Only a quarter of the slack is needed for a value to be due: pretend that it was listed earlier.
	var micros int64
	_, err = fmt.Sscanf(before, "%x", &micros)
	require.NoError(t, err)
	earlier := micros - (30 * time.Second).Microseconds()
	require.NoError(t, client.SetRange(ctx, s.key(testID), stampAt, fmt.Sprintf("%016x", earlier)).Err())
	require.NoError(t, client.ZAdd(ctx, s.index(hashOf(alice)), redis.Z{Score: float64(earlier), Member: testID}).Err())
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	_, err = s.Get(ctx, testID)
	require.NoError(t, err)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	require.GreaterOrEqual(t, stampOf(t, s, testID), before)
	require.Equal(t, []string{testID}, owned(t, s, alice))
}

// TestIndexOutlivesItsShortListings lists a value that lives for long, and then one that does not.
func TestIndexOutlivesItsShortListings(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
		for id, idle := range map[string]time.Duration{"long": time.Hour, "short": time.Second} {
			_, err := s.Put(t.Context(), id, Write{Owner: alice, Lifetime: Lifetime{Idle: idle}})
			require.NoError(t, err)
		}
		_, err := s.Put(t.Context(), "short", Write{Owner: alice, Lifetime: Lifetime{Idle: time.Second}})
		require.NoError(t, err)
		require.Equal(t, 2*time.Hour+time.Minute, m.TTL(s.index(hashOf(alice))).Truncate(time.Second))
	})
}

// TestRelistingProlongsTheValue has a value whose listing is nearly over, after an index that was away.
func TestRelistingProlongsTheValue(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, _ *interceptor) {
		putFor(t, s, alice, testID)
		soon := time.Now().Add(10 * time.Second).UnixMicro()
		require.NoError(t, s.client.SetRange(t.Context(), s.key(testID), stampAt, fmt.Sprintf("%016x", soon)).Err())
		_, err := s.Get(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, time.Minute, m.TTL(s.key(testID)))
		requireListed(t, s, alice, testID)
	})
}

// TestNonsenseInsteadOfAnOwnersReply has replies of the right kind, and nothing of what belongs into them.
func TestNonsenseInsteadOfAnOwnersReply(t *testing.T) {
	t.Parallel()
	m, client, _ := embedded.Start(t)
	s := limited(client, 1, true)
	ctx := t.Context()
	calls := map[string]func() error{
		"get":       func() error { _, err := s.Get(ctx, testID); return err },
		"unchanged": func() error { _, err := s.Unchanged(ctx, []Use{{ID: testID, Revision: 1}}); return err },
		"put":       func() error { _, err := s.Put(ctx, testID, Write{Owner: alice}); return err },
		"delete":    func() error { return s.Delete(ctx, testID) },
		"revoke":    func() error { _, err := s.Revoke(ctx, alice); return err },
		"owned": func() error {
			for _, err := range s.Owned(ctx, alice) {
				return err
			}
			return nil
		},
	}
	for name, write := range map[string]func(peer *server.Peer){
		"number":      func(peer *server.Peer) { peer.WriteInt(7) },
		"text":        func(peer *server.Peer) { peer.WriteBulk("2") },
		"empty":       func(peer *server.Peer) { peer.WriteBulk("") },
		"short array": func(peer *server.Peer) { peer.WriteStrings([]string{"x"}) },
		"two texts":   func(peer *server.Peer) { peer.WriteStrings([]string{"x", "y"}) },
		"empty array": func(peer *server.Peer) { peer.WriteLen(0) },
	} {
		m.Server().SetPreHook(func(peer *server.Peer, command string, _ ...string) bool {
			if !strings.HasPrefix(command, "EVAL") {
				return false
			}
			write(peer)
			return true
		})
		for operation, call := range calls {
			err := call() // it must not panic
			harmless := (operation == "revoke" || operation == "owned") && name == "empty array"
			require.True(t, err != nil || harmless, "%s, %s", name, operation)
		}
	}
}

// TestOutageOfAnIndexShowsItsCause: that the index is the place says nothing about the reason.
func TestOutageOfAnIndexShowsItsCause(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer func() { require.NoError(t, client.Close()) }()
	s := storeOf(Config{Client: client, Prefix: testPrefix, TTL: time.Minute, Owners: true})
	_, err := s.Put(t.Context(), "id", Write{Owner: "owner"})
	require.Equal(t, "the owner's index: dial tcp 127.0.0.1:1: connection refused", errs.Shown(err))
	_, err = s.Revoke(t.Context(), "owner")
	require.Contains(t, errs.Shown(err), "connection refused")
}
