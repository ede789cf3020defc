package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// errCrash is what every command gets once its process has ended.
var errCrash = errors.New("the process has ended")

// crasher decides what becomes of the commands of one operation. One of them meets its fate, the others are executed;
// after a crash none is.
type crasher struct {
	at, seen int
	fate     string // see [fates]
	crashed  bool
	late     [][]any // what is still on its way
}

var fates = []string{
	"", "", "", "", // all goes well
	"crash before", "crash after", "lost, executed", "lost, not executed", "overdue, executed", "late",
}

// meet returns whether a command is executed now, and the error that the store gets instead of its reply.
func (c *crasher) meet(args ...[]any) (executed bool, err error) {
	if c.crashed {
		return false, errCrash
	}
	c.seen++
	if c.seen != c.at || c.fate == "" {
		return true, nil
	}
	switch c.fate {
	case "crash before", "crash after":
		c.crashed = true
		return c.fate == "crash after", errCrash
	case "lost, executed":
		return true, io.EOF
	case "lost, not executed":
		return false, io.EOF
	case "overdue, executed":
		return true, errTimedOut
	}
	c.late = append(c.late, args...)
	return false, errTimedOut
}

func (c *crasher) hook() interceptor {
	return interceptor{
		script: func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) (err error) {
			executed, lost := c.meet(cmd.Args())
			if executed {
				err = next(ctx, cmd)
			}
			if lost != nil {
				return lost
			}
			return err
		},
		pipeline: func(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) (err error) {
			args := make([][]any, len(cmds))
			for i, cmd := range cmds {
				args[i] = cmd.Args()
			}
			executed, lost := c.meet(args...)
			if executed {
				err = next(ctx, cmds)
			}
			if lost == nil {
				return err
			}
			for _, cmd := range cmds {
				cmd.SetErr(lost)
			}
			return lost
		},
	}
}

// TestIndexMissesNoValue does random operations, ends the process between any two of their steps, loses replies, and
// lets commands arrive when other operations are over. After each step, the index names every value that lives.
func TestIndexMissesNoValue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, m *miniredis.Miniredis, s *Store, hook *interceptor) {
				w := &ownerWorld{r: rand.New(rand.NewPCG(seed, 14)), m: m, store: s, hook: hook}
				w.raw = withOwners(w.client(t))
				for range 150 {
					w.step(t)
				}
				w.end(t)
			})
		})
	}
}

// ownerWorld is a store whose process ends now and then, and a client that sees what is stored.
type ownerWorld struct {
	r     *rand.Rand
	m     *miniredis.Miniredis
	store *Store
	hook  *interceptor
	raw   *Store
	late  [][]any
}

func (w *ownerWorld) client(t *testing.T) *redis.Client {
	t.Helper()
	base, _ := w.store.base.(*redis.Client)
	opts := *base.Options()
	client := redis.NewClient(&opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

var worldIDs = []string{"one", "two", "three"}

func (w *ownerWorld) step(t *testing.T) {
	t.Helper()
	if len(w.late) > 0 && w.r.IntN(3) == 0 {
		at := w.r.IntN(len(w.late))
		_ = w.raw.client.Do(t.Context(), w.late[at]...).Err()
		w.late = slices.Delete(w.late, at, at+1)
		w.check(t, "a late command")
	}
	time.Sleep([]time.Duration{0, 0, time.Millisecond, 10 * time.Second, 40 * time.Second}[w.r.IntN(5)])
	c := &crasher{at: 1 + w.r.IntN(5), fate: fates[w.r.IntN(len(fates))]}
	*w.hook = c.hook()
	id := worldIDs[w.r.IntN(len(worldIDs))]
	owner := []string{alice, alice, bob, ""}[w.r.IntN(4)]
	what := fmt.Sprintf("%s %s, %+v: ", id, owner, *c) + w.operate(t, id, owner, c)
	*w.hook = interceptor{}
	w.late = append(w.late, c.late...)
	w.check(t, what)
}

func (w *ownerWorld) operate(t *testing.T, id, owner string, c *crasher) string {
	t.Helper()
	ctx, s := t.Context(), w.store
	stored := w.raw.client.Get(ctx, w.raw.key(id)).Val()
	condition, revision := Always, uint64(0)
	if v, err := parseValue([]byte(stored)); err == nil {
		revision = v.Revision
	}
	switch w.r.IntN(10) {
	case 0, 1:
		condition = IfAbsent
		fallthrough
	case 2, 3:
		if condition == Always && w.r.IntN(2) == 0 {
			condition = IfRevision(max(1, revision-uint64(w.r.IntN(2))))
		}
		fallthrough
	case 4:
		l := Lifetime{Idle: []time.Duration{0, 0, 20 * time.Second}[w.r.IntN(3)]}
		_, err := s.Put(ctx, id, Write{Data: []byte(owner + id), Condition: condition, Lifetime: l, Owner: owner})
		return fmt.Sprintf("put if %q: %v", condition, err)
	case 5, 6:
		_, err := s.Get(ctx, id)
		return fmt.Sprint("get: ", err)
	case 7:
		_, err := s.Unchanged(ctx, []Use{{ID: id, Revision: revision, Idle: time.Second}, {ID: "two", Revision: 1}})
		return fmt.Sprint("unchanged: ", err)
	case 8:
		if w.r.IntN(2) == 0 {
			return fmt.Sprint("delete: ", s.Delete(ctx, id))
		}
		_, undo, err := s.Take(ctx, id)
		if err == nil && w.r.IntN(2) == 0 {
			undo()
		}
		return fmt.Sprint("take: ", err)
	}
	ended, err := s.Revoke(ctx, owner)
	if err == nil && owner != "" {
		require.Empty(t, w.living(t, owner), "%+v", c)
	}
	return fmt.Sprintf("revoke: %d, %v", ended, err)
}

// living returns the ids of the values that belong to an owner, whatever its index says.
func (w *ownerWorld) living(t *testing.T, owner string) (ids []string) {
	t.Helper()
	for _, id := range worldIDs {
		if l, ok := listingOf(id, w.raw.client.Get(t.Context(), w.raw.key(id)).Val()); ok && l.owner == hashOf(owner) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *ownerWorld) check(t *testing.T, what string) {
	t.Helper()
	for _, owner := range []string{alice, bob} {
		living := w.living(t, owner)
		for _, id := range living {
			require.Contains(t, stamps(t, w.raw, owner), id, what)
			requireListed(t, w.raw, owner, id)
		}
		require.ElementsMatch(t, living, owned(t, w.raw, owner), what)
	}
}

// end revokes everything, and waits until the last listing is over.
func (w *ownerWorld) end(t *testing.T) {
	t.Helper()
	for _, owner := range []string{alice, bob} {
		_, err := w.store.Revoke(t.Context(), owner)
		require.NoError(t, err)
		require.Empty(t, w.living(t, owner))
	}
	time.Sleep(4 * time.Minute)
	require.Empty(t, w.m.Keys())
}
