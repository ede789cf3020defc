package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session/internal/redistest"
)

// fate is what becomes of one attempt.
type fate struct {
	executed bool  // before the caller hears of it
	late     bool  // the server executes it after the call has returned
	lost     error // how the reply is lost; nil: it comes
}

// replied is the fate of an attempt that goes well.
var replied = fate{executed: true}

// settling is one case of TestSettleRules. What others do is a word that [settleWorld.others] knows.
type settling struct {
	op      string
	present bool // whether a value is stored at first
	fates   [2]fate
	before  string // what others do before the first attempt is executed
	between string // ... before the second one is executed
	after   string // ... after the call has returned, before what is late arrives
}

// settlings returns every case of an operation.
func settlings(op string, present bool) (all []settling) {
	nothing := []string{""}
	deeds := []string{"", "change", "overwrite", "delete", "recreate"}
	first := []fate{
		replied,
		{executed: true, lost: io.EOF},
		{executed: true, lost: errTimedOut},
		{lost: io.EOF},
		{lost: errTimedOut},
		{late: true, lost: errTimedOut},
	}
	second := []fate{
		replied,
		{executed: true, lost: io.EOF},
		{executed: true, lost: errTimedOut},
		{lost: io.EOF},
		{late: true, lost: errTimedOut},
	}
	for _, one := range first {
		for _, two := range second {
			between, after := nothing, nothing
			if one.lost != nil {
				between = deeds
			}
			if one.late || two.late {
				after = deeds
			}
			for _, before := range []string{"", "change", "delete"} {
				for _, between := range between {
					for _, after := range after {
						all = append(all, settling{op, present, [2]fate{one, two}, before, between, after})
					}
				}
			}
			if one.lost == nil {
				break // there is no second attempt
			}
		}
	}
	return all
}

// stored is what is under a key.
type stored struct{ revision, token string } // "" for none

// settleWorld is a store whose replies are lost, and the others who use the same server.
type settleWorld struct {
	hook   interceptor
	store  *Store
	raw    *redis.Client // not intercepted
	theirs *Store
}

func newSettleWorld(t *testing.T, server *redistest.Server) *settleWorld {
	w := &settleWorld{raw: server.Client(t)}
	client := server.Client(t)
	client.AddHook(&w.hook)
	w.store, w.theirs = newStore(client), newStore(w.raw)
	put(t, w.store, "warm-up")
	require.NoError(t, w.store.Delete(t.Context(), "warm-up"))
	return w
}

func (w *settleWorld) stored(t *testing.T, id string) stored {
	header := w.raw.GetRange(t.Context(), w.store.key(id), 0, headerLength-1).Val()
	if header == "" {
		return stored{}
	}
	return stored{header[1:17], header[33:49]}
}

func (w *settleWorld) others(t *testing.T, id, deed string) {
	write := func(c Condition) error {
		_, err := w.theirs.Put(t.Context(), id, Write{Data: []byte("theirs"), Condition: c})
		return err
	}
	switch deed {
	case "change":
		if now := w.stored(t, id); now.revision != "" {
			require.NoError(t, write(Condition(now.revision)))
		}
	case "overwrite":
		require.NoError(t, write(Always))
	case "recreate":
		require.NoError(t, w.theirs.Delete(t.Context(), id))
		require.NoError(t, write(IfAbsent))
	case "delete":
		require.NoError(t, w.theirs.Delete(t.Context(), id))
	}
}

// settled is what has happened in a case.
type settled struct {
	err        error
	told       string // the revision that Put has returned
	sent       int
	token      string
	base       string   // the revision that a store is based on
	successor  string   // the revision with which others have replaced that one; "" if they have not
	found      []stored // before each attempt was to be executed
	effects    []string // the revisions that were written; "" for a value that was deleted
	heardAfter int      // how many effects there were when the call returned
}

func (w *settleWorld) settle(t *testing.T, id string, c settling) (r settled) {
	t.Helper()
	if c.present {
		w.others(t, id, "overwrite")
	}
	r.base = w.stored(t, id).revision
	others := func(deed string) {
		before := w.stored(t, id).revision
		w.others(t, id, deed)
		if after := w.stored(t, id).revision; before == r.base && after != before && deed != "recreate" {
			r.successor = after
		}
	}
	execute := func(do func()) {
		before := w.stored(t, id)
		do()
		if after := w.stored(t, id); after.revision != before.revision {
			r.effects = append(r.effects, after.revision)
		}
	}
	var late [][]any
	deeds := []string{c.before, c.between}
	w.hook.script = func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) (err error) {
		require.Less(t, r.sent, 2, "%+v", c)
		fate, args := c.fates[r.sent], cmd.Args()
		others(deeds[r.sent])
		r.found = append(r.found, w.stored(t, id))
		r.sent++
		if c.op != "delete" {
			token := args[9].(string)[:tokenLength]
			require.True(t, r.token == "" || r.token == token, "%+v", c)
			r.token = token
		}
		if fate.executed {
			execute(func() { err = next(ctx, cmd) })
		}
		if fate.late {
			late = append(late, args)
		}
		if fate.lost != nil {
			return fate.lost
		}
		return err
	}
	put := func(condition Condition) {
		revision, err := w.store.Put(t.Context(), id, Write{Data: []byte("ours"), Condition: condition})
		if r.err = err; err == nil {
			r.told = revisionText(revision)
		}
	}
	switch c.op {
	case "store":
		put(Condition(r.base))
	case "put":
		put(Always)
	case "create":
		put(IfAbsent)
	case "replace":
		put(IfPresent)
	case "delete":
		r.err = w.store.Delete(t.Context(), id)
	}
	w.hook.script = nil
	r.heardAfter = len(r.effects)

	others(c.after)
	for _, args := range late {
		execute(func() { require.NoError(t, w.raw.Do(t.Context(), args...).Err()) })
	}
	return r
}

// errUnknown stands for every error that says nothing about the value.
var errUnknown = errors.New("the outcome is unknown")

// outcome returns what the call has to return, by the table in guarantees.md, P9.
func (c settling) outcome(r settled) error {
	found := r.found[0]
	if c.fates[0].lost == nil {
		switch {
		case (c.op == "store" || c.op == "replace") && found.revision == "":
			return ErrMissing
		case c.op == "store" && found.revision != r.base:
			return ErrConflict
		case c.op == "create" && found.revision != "":
			return ErrExists
		}
		return nil
	}
	if c.fates[1].lost != nil {
		return errUnknown
	}
	found = r.found[1]
	switch {
	case c.op == "delete", found.token == r.token:
		return nil
	case c.op == "store" && found.revision == "":
		return ErrMissing
	case c.op == "store" && found.revision == r.base:
		return nil
	case c.op == "store" && found.revision == r.successor:
		return ErrConflict
	case c.op == "store", errors.Is(c.fates[0].lost, errTimedOut), c.op == "create" && found.revision != "":
		return errUnknown
	case c.op == "replace" && found.revision == "":
		return ErrMissing
	}
	return nil
}

func isAnswer(err error) bool { return isAny(err, ErrMissing, ErrExists, ErrConflict, ErrCorrupt) }

// check compares the outcome with the table, and what has happened with what P9 promises.
func (c settling) check(t *testing.T, r settled) {
	t.Helper()
	what := fmt.Sprintf("%+v\n%+v", c, r)
	want := c.outcome(r)
	if want == errUnknown { //nolint:errorlint // it is only a mark
		require.Error(t, r.err, what)
		require.False(t, isAnswer(r.err), what)
	} else {
		require.Equal(t, want, r.err, what)
	}
	if c.fates[0].lost == nil {
		require.Equal(t, 1, r.sent, what)
	} else {
		require.Equal(t, 2, r.sent, what)
	}

	if c.op == "delete" {
		if r.err == nil {
			require.True(t, r.found[len(r.found)-1].revision == "" || slices.Contains(r.effects, ""), what)
		}
		return // what is late may delete a successor, which is documented
	}
	switch {
	case c.op == "store":
		require.LessOrEqual(t, len(r.effects), 1, what)
	case errors.Is(c.fates[0].lost, errTimedOut):
		require.LessOrEqual(t, len(r.effects), 1, "%s\nthe second attempt only asks", what)
	}
	switch {
	case r.err == nil:
		require.NotEmpty(t, r.effects, what)
		require.Equal(t, r.effects[len(r.effects)-1], r.told, what)
		require.Len(t, r.effects, r.heardAfter, "%s\nnothing after success", what)
	case errors.Is(r.err, ErrConflict), errors.Is(r.err, ErrExists):
		require.Empty(t, r.effects, what)
	}
}

// TestSettleRules loses replies in every way, while others change, overwrite, delete and create the value, and compares
// each outcome with the table of guarantees.md.
func TestSettleRules(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, all := range map[string][]settling{
		"store":                 settlings("store", true),
		"put over a value":      settlings("put", true),
		"put of a new one":      settlings("put", false),
		"create":                settlings("create", false),
		"create of what exists": settlings("create", true),
		"replace":               settlings("replace", true),
		"replace of nothing":    settlings("replace", false),
		"delete":                settlings("delete", true),
		"delete of nothing":     settlings("delete", false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSettleWorld(t, server)
			for i, c := range all {
				c.check(t, w.settle(t, fmt.Sprint(name, i), c))
			}
			t.Log(len(all), "cases")
		})
	}
}
