package redisstore

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/internal/redistest/embedded"
)

// TestLateWriteIsNotStored holds a write back until its listing is over.
func TestLateWriteIsNotStored(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, hook *interceptor) {
		putFor(t, s, alice, "warm-up")
		sent := 0
		hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
			if sent++; sent == 2 { // the value, after the index
				time.Sleep(2*time.Minute + time.Second)
			}
			return next(ctx, cmd)
		}
		_, err := s.Put(t.Context(), testID, Write{Owner: alice})
		require.Equal(t, errUnlisted, err)
		require.False(t, m.Exists(s.key(testID)))
		hook.script = nil
		_, err = s.Put(t.Context(), testID, Write{Owner: alice, Lifetime: Lifetime{End: time.Now().Add(-time.Second)}})
		require.Equal(t, ErrEnded, err)
	})
}

// TestOwnerOfAValueChanges gives a value to another owner, and to none.
func TestOwnerOfAValueChanges(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	s := withOwners(client)
	revision := putFor(t, s, alice, testID)
	revision, err := s.Put(t.Context(), testID, Write{
		Data: []byte(bob + testID), Owner: bob, Condition: IfRevision(revision),
	})
	require.NoError(t, err)
	require.Empty(t, stamps(t, s, alice))
	require.Equal(t, []string{testID}, owned(t, s, bob))
	ended, err := s.Revoke(t.Context(), alice)
	require.NoError(t, err)
	require.Zero(t, ended)
	_, err = s.Put(t.Context(), testID, Write{Condition: IfRevision(revision)})
	require.NoError(t, err)
	require.Empty(t, stamps(t, s, bob))
	require.Empty(t, stampOf(t, s, testID))
	putFor(t, s, bob, testID)
	require.Equal(t, []string{testID}, owned(t, s, bob), "an owner for a value that had none")

	// A listing that was left behind: the reader looks at the value.
	require.NoError(t, client.ZAdd(t.Context(), s.index(hashOf(alice)), redis.Z{Score: 1 << 52, Member: testID}).Err())
	require.Empty(t, owned(t, s, alice))
	ended, err = s.Revoke(t.Context(), alice)
	require.NoError(t, err)
	require.Zero(t, ended)
	require.Equal(t, []string{testID}, owned(t, s, bob))
}

// TestRefusedWriteTakesItsListingBack has writes that change nothing. The listing that was there is there again.
func TestRefusedWriteTakesItsListingBack(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	s := withOwners(client)
	revision := putFor(t, s, alice, testID)
	before := stamps(t, s, alice)
	for _, c := range []Condition{IfAbsent, IfRevision(revision - 1)} {
		_, err := s.Put(t.Context(), testID, Write{Owner: alice, Condition: c})
		require.Error(t, err)
		require.Equal(t, before, stamps(t, s, alice))
		_, err = s.Put(t.Context(), testID, Write{Owner: bob, Condition: c})
		require.Error(t, err)
		require.Empty(t, stamps(t, s, bob))
	}
	require.NoError(t, s.Delete(t.Context(), testID))
	_, err := s.Put(t.Context(), testID, Write{Owner: alice, Condition: IfRevision(revision)})
	require.Equal(t, ErrMissing, err)
	require.Empty(t, client.Keys(t.Context(), "*").Val(), "a late store leaves nothing behind")
}

// TestListingOfAnotherWriterStays: a listing is taken back only if the id was not listed anew since.
func TestListingOfAnotherWriterStays(t *testing.T) {
	t.Parallel()
	for _, loser := range []string{"delete", "refused write"} {
		t.Run(loser, func(t *testing.T) {
			t.Parallel()
			w := newSettleWorld(t, redistest.Start(t))
			w.store.owners, w.theirs.owners = true, true
			putFor(t, w.theirs, alice, testID)
			sent := 0
			w.hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
				err := next(ctx, cmd)
				if redis.HasErrorPrefix(err, "NOSCRIPT") {
					return err
				}
				// Before the listing is taken back, others store the value anew.
				if sent++; sent == map[string]int{"delete": 1, "refused write": 2}[loser] {
					putFor(t, w.theirs, alice, testID)
				}
				return err
			}
			if loser == "delete" {
				require.NoError(t, w.store.Delete(t.Context(), testID))
			} else {
				_, err := w.store.Put(t.Context(), testID, Write{Owner: alice, Condition: IfAbsent})
				require.Equal(t, ErrExists, err)
			}
			require.Equal(t, []string{testID}, owned(t, w.theirs, alice))
			requireListed(t, w.theirs, alice, testID)
		})
	}
}

// TestRepetitionIsListedAnew loses the reply of a creation that was executed. Others delete the value, and take its
// listing back. The repetition creates the value again.
func TestRepetitionIsListedAnew(t *testing.T) {
	t.Parallel()
	lost := false
	var w *settleWorld
	w, _ = scripted(t, func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		err := next(ctx, cmd)
		if err == nil && !lost && cmd.Args()[3] == w.store.key(testID) {
			lost = true
			require.NoError(t, w.theirs.Delete(ctx, testID))
			require.Empty(t, stamps(t, w.theirs, alice))
			return io.EOF
		}
		return err
	})
	w.store.owners, w.theirs.owners = true, true
	putFor(t, w.store, alice, testID)
	require.True(t, lost)
	require.Equal(t, []string{testID}, owned(t, w.theirs, alice))
	requireListed(t, w.theirs, alice, testID)
}

// TestLateRelistingChangesNothing has a load that finds a value due, and notes its listing when another value is
// stored, with another owner or another revision, or none.
func TestLateRelistingChangesNothing(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]func(t *testing.T, s *Store){
		"deleted": func(t *testing.T, s *Store) { require.NoError(t, s.Delete(t.Context(), testID)) },
		"written": func(t *testing.T, s *Store) { putFor(t, s, alice, testID) },
		"another owner": func(t *testing.T, s *Store) {
			_, err := s.Put(t.Context(), testID, Write{
				Data: []byte(bob + testID), Owner: bob, Lifetime: Lifetime{Idle: time.Second},
			})
			require.NoError(t, err)
		},
		"created anew": func(t *testing.T, s *Store) {
			require.NoError(t, s.Delete(t.Context(), testID))
			_, err := s.Put(t.Context(), testID, Write{
				Data: []byte(alice + testID), Owner: alice, Lifetime: Lifetime{Idle: time.Second},
			})
			require.NoError(t, err)
		},
	} {
		for before, pipeline := range map[string]int{"the listing": 1, "the note": 3} { // each takes EVALSHA and EVAL
			t.Run(name+" before "+before, func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, hook *interceptor) {
					putFor(t, s, alice, testID)
					time.Sleep(50 * time.Second)
					pipelines := 0
					hook.pipeline = func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
						if pipelines++; pipelines == pipeline {
							others(t, s)
						}
						return next(ctx, cmds)
					}
					_, err := s.Get(t.Context(), testID)
					require.NoError(t, err)
					require.GreaterOrEqual(t, pipelines, 3)
					now, err := s.Peek(t.Context(), testID)
					if name == "deleted" {
						require.Equal(t, ErrMissing, err)
						require.Empty(t, m.Keys())
						return
					}
					require.NoError(t, err)
					owner := strings.TrimSuffix(string(now.Data), testID)
					require.Equal(t, []string{testID}, owned(t, s, owner))
					requireListed(t, s, owner, testID)
				})
			})
		}
	}
}

// TestEarlierListingIsNotNoted has two replicas that list a value anew, and note that in the other order.
func TestEarlierListingIsNotNoted(t *testing.T) {
	t.Parallel()
	_, client, _ := embedded.Start(t)
	s := withOwners(client)
	revision := revisionText(putFor(t, s, alice, testID))
	l := listing{member: testID, owner: hashOf(alice), times: Lifetime{}.text()}
	first, err := s.list(t.Context(), l)
	require.NoError(t, err)
	second, err := s.list(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, first.stamp, second.before)
	for _, l := range []listing{second, first} {
		replies, failures := s.each(t.Context(), extendScript, true, []call{
			{key: s.key(testID), args: []any{revision, l.stamp, s.ttl.Milliseconds(), 0}},
		})
		require.Equal(t, []any{int64(1)}, replies, "%v", failures)
		require.Equal(t, second.stamp, stampOf(t, s, testID))
	}
}

// TestTakeWithAnOwnerCanBeUndone puts a value back that is listed again.
func TestTakeWithAnOwnerCanBeUndone(t *testing.T) {
	t.Parallel()
	m, client, _ := embedded.Start(t)
	s := withOwners(client)
	revision := putFor(t, s, alice, testID)
	_, undo, err := s.Take(t.Context(), testID)
	require.NoError(t, err)
	require.Empty(t, m.Keys())
	undo()
	require.Equal(t, []string{testID}, owned(t, s, alice))
	require.Equal(t, stamps(t, s, alice)[testID], stampOf(t, s, testID))
	v, err := s.Get(t.Context(), testID)
	require.NoError(t, err)
	require.Equal(t, Value{[]byte(alice + testID), revision}, v)

	_, undo, err = s.Take(t.Context(), testID)
	require.NoError(t, err)
	m.SetError("the index is away")
	undo()
	m.SetError("")
	require.Empty(t, m.Keys(), "what cannot be listed does not live")
}
