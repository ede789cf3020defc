package requeststate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

func memory() *session.MemoryStorage { return session.NewMemoryStorage(time.Hour) }

func ring(t testing.TB, ids ...string) *session.KeyRing {
	t.Helper()
	var keys []session.Key
	for _, id := range ids {
		keys = append(keys, session.Key{ID: id, Secret: []byte((id + strings.Repeat("0123456789", 4))[:32])})
	}
	r, err := session.NewKeyRing(keys...)
	require.NoError(t, err)
	return r
}

// guards are all variants. Each makes a new one, as another replica would.
func guards(t testing.TB, opts ...Option) map[string]func() Guard {
	t.Helper()
	st, used, keys := memory(), memory(), ring(t, "2026-11")
	return map[string]func() Guard{
		"stored": func() Guard { return NewStored(st, opts...) },
		"sealed": func() Guard { return NewSealed(keys, opts...) },
		"once":   func() Guard { return NewSealed(keys, append(slices.Clip(opts), Once(used))...) },
	}
}

func deploy() Binding {
	return Binding{
		Principal: "https://issuer alice", Method: "tools/call", Name: "deploy",
		Arguments: json.RawMessage(`{"to":"production","instances":3,"account":9007199254740993}`),
	}
}

func TestStateComesBackOnAnyReplica(t *testing.T) {
	t.Parallel()
	for name, guard := range guards(t) {
		for _, state := range []string{"step 2", "", "\x00\xff", strings.Repeat("x", 500_000)} {
			b := deploy()
			requestState, err := guard().Seal(t.Context(), b, []byte(state))
			require.NoError(t, err, name)
			require.NoError(t, session.ValidateID(requestState[:min(len(requestState), 4096)]), "%s: visible ASCII", name)
			b.Arguments = json.RawMessage(` { "account" : 9007199254740993.0, "instances": 3e0, "to": "production" }`)
			opened, err := guard().Open(t.Context(), b, requestState)
			require.NoError(t, err, name)
			require.Equal(t, state, string(opened), name)
		}
	}
}

// TestHostileRequests has a client that presents what is not for it, or not for this request. The state itself is not
// used up by that.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for name, guard := range guards(t) {
		g := guard()
		requestState, err := g.Seal(t.Context(), deploy(), []byte("state"))
		require.NoError(t, err)
		for attack, change := range map[string]func(*Binding){
			"another user":               func(b *Binding) { b.Principal = "https://issuer mallory" },
			"a user of another issuer":   func(b *Binding) { b.Principal = "https://other alice" },
			"another method":             func(b *Binding) { b.Method = "prompts/get" },
			"another tool":               func(b *Binding) { b.Name = "destroy" },
			"texts that are cut anew":    func(b *Binding) { b.Method, b.Name = "tools/calldep", "loy" },
			"no arguments":               func(b *Binding) { b.Arguments = nil },
			"another argument":           func(b *Binding) { b.Arguments = json.RawMessage(`{"to":"production"}`) },
			"one more argument":          replaceIn(`{`, `{"force":true,`),
			"another number":             replaceIn(`:3`, `:30`),
			"the same number as float64": replaceIn(`9007199254740993`, `9007199254740992`),
			"a number as a text":         replaceIn(`:3`, `:"3"`),
			"a name in another case":     replaceIn(`"to"`, `"To"`),
			"a member twice":             replaceIn(`{`, `{"to":"test",`),
			"a member in two cases":      replaceIn(`{`, `{"TO":"test",`),
			"no JSON":                    func(b *Binding) { b.Arguments = json.RawMessage(`{`) },
		} {
			b := deploy()
			change(&b)
			opened, err := g.Open(t.Context(), b, requestState)
			requireRejected(t, err, name+": "+attack)
			require.Nil(t, opened)
		}
		for attack, presented := range map[string]string{
			"nothing":       "",
			"invented":      "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
			"longer":        requestState + "A",
			"shorter":       requestState[1:],
			"with a space":  requestState + " ",
			"with a line":   requestState + "\n",
			"padded":        requestState + "=",
			"not ASCII":     requestState + "é",
			"a megabyte":    strings.Repeat("A", 1<<20),
			"another case":  strings.ToLower(requestState),
			"twice":         requestState + requestState,
			"not UTF-8":     "\xff",
			"of a session":  "session: x",
			"a stored type": string(storedType),
		} {
			_, err := g.Open(t.Context(), deploy(), presented)
			requireRejected(t, err, name+": "+attack)
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for i := range requestState {
			others := alphabet[:3]
			if i == len(requestState)-1 {
				others = alphabet // it has spare bits
			}
			for _, c := range others {
				if rune(requestState[i]) != c {
					_, err := g.Open(t.Context(), deploy(), requestState[:i]+string(c)+requestState[i+1:])
					requireRejected(t, err, name)
				}
			}
		}
		opened, err := g.Open(t.Context(), deploy(), requestState)
		require.NoError(t, err, name)
		require.Equal(t, "state", string(opened))
	}
}

func replaceIn(old, text string) func(*Binding) {
	return func(b *Binding) { b.Arguments = bytes.Replace(b.Arguments, []byte(old), []byte(text), 1) }
}

func requireRejected(t *testing.T, err error, what string) {
	t.Helper()
	require.ErrorIs(t, err, ErrRejected, what)
	require.Equal(t, "requeststate: rejected", fmt.Sprintf("%v", err), what)
	require.NotContains(t, fmt.Sprintf("%#v %+v", err, err), Reason(err), what)
	require.NotEmpty(t, Reason(err), what)
	require.NotContains(t, Reason(err), "alice", what)
	for _, other := range []error{session.ErrNotFound, session.ErrCorrupt, session.ErrExists, session.ErrUnavailable} {
		require.NotErrorIs(t, err, other, what)
	}
}

func TestHowOftenAStateCanBeOpened(t *testing.T) {
	t.Parallel()
	const callers = 20
	for name, guard := range guards(t) {
		requestState, err := guard().Seal(t.Context(), deploy(), []byte("state"))
		require.NoError(t, err)
		var opened, refused atomic.Int64
		var calls sync.WaitGroup
		for range callers {
			calls.Go(func() {
				switch _, err := guard().Open(t.Context(), deploy(), requestState); {
				case err == nil:
					opened.Add(1)
				case errors.Is(err, ErrRejected):
					refused.Add(1)
				}
			})
		}
		calls.Wait()
		want := map[string]int64{"stored": 1, "once": 1, "sealed": callers}[name]
		require.Equal(t, want, opened.Load(), name)
		require.Equal(t, callers-want, refused.Load(), name)
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			opts []Option
			want time.Duration
		}{
			{nil, 10 * time.Minute},
			{[]Option{WithLifetime(0)}, 10 * time.Minute},
			{[]Option{WithLifetime(time.Minute)}, time.Minute},
		} {
			for name, guard := range guards(t, test.opts...) {
				first, err := guard().Seal(t.Context(), deploy(), []byte("state"))
				require.NoError(t, err)
				second, err := guard().Seal(t.Context(), deploy(), []byte("state"))
				require.NoError(t, err)
				time.Sleep(test.want - time.Millisecond)
				_, err = guard().Open(t.Context(), deploy(), first)
				require.NoError(t, err, name)
				time.Sleep(time.Millisecond)
				_, err = guard().Open(t.Context(), deploy(), second)
				requireRejected(t, err, name)
			}
		}
	})
}

// TestUsedForLongerThanValid has a replica whose clock is behind: it accepts what others do not any more.
func TestUsedForLongerThanValid(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	g := NewSealed(ring(t, "a"), Once(st), WithLifetime(time.Second))
	requestState, err := g.Seal(t.Context(), deploy(), nil)
	require.NoError(t, err)
	_, err = g.Open(t.Context(), deploy(), requestState)
	require.NoError(t, err)
	require.Greater(t, time.Until(st.stored.ExpiresAt()), clockMargin-time.Minute/6)
	require.Equal(t, session.NoIdleTimeout, st.stored.IdleTimeout())
	require.Empty(t, st.stored.Data())
}

func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	g := NewStored(st)
	requestState, err := g.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	all := fmt.Sprint(st.stored.Record())
	require.NotContains(t, all, requestState)
	require.NotContains(t, all, "alice")
	require.Equal(t, session.NoIdleTimeout, st.stored.IdleTimeout())
	require.Equal(t, st.stored.CreatedAt().Add(10*time.Minute), st.stored.ExpiresAt())
	first := st.stored.Principal()
	b := deploy()
	b.Name = "destroy"
	_, err = g.Seal(t.Context(), b, nil)
	require.NoError(t, err)
	require.Equal(t, first, st.stored.Principal(), "a principal has one index")
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	old := NewSealed(ring(t, "old"))
	both := NewSealed(ring(t, "new", "old"))
	requestState, err := old.Seal(t.Context(), deploy(), []byte("state"))
	require.NoError(t, err)
	opened, err := both.Open(t.Context(), deploy(), requestState)
	require.NoError(t, err)
	require.Equal(t, "state", string(opened))
	_, err = NewSealed(ring(t, "new")).Open(t.Context(), deploy(), requestState)
	requireRejected(t, err, "the key has gone")
	require.Contains(t, Reason(err), "unknown key")

	b := deploy()
	bound, err := b.digest(&options{})
	require.NoError(t, err)
	forged := ring(t, "old").Sealer("another purpose").Seal(make([]byte, 20), []byte(bound))
	_, err = old.Open(t.Context(), b, encoding.EncodeToString(forged))
	requireRejected(t, err, "what the ring has sealed for something else")
	short := ring(t, "old").Sealer(sealPurpose).Seal([]byte("short"), []byte(bound))
	_, err = old.Open(t.Context(), b, encoding.EncodeToString(short))
	requireRejected(t, err, "what is too short")
}

func TestOutageIsNoRejection(t *testing.T) {
	t.Parallel()
	st := &spy{MemoryStorage: memory()}
	for name, g := range map[string]Guard{"stored": NewStored(st), "once": NewSealed(ring(t, "a"), Once(st))} {
		st.err = nil
		requestState, err := g.Seal(t.Context(), deploy(), []byte("state"))
		require.NoError(t, err)
		st.err = session.ErrUnavailable
		_, err = g.Open(t.Context(), deploy(), requestState)
		require.ErrorIs(t, err, session.ErrUnavailable, name)
		require.NotErrorIs(t, err, ErrRejected, name)
		require.Empty(t, Reason(err))
		st.err = nil
		_, err = g.Open(t.Context(), deploy(), requestState)
		require.NoError(t, err, "%s: nothing was used up", name)
	}
	st.err = session.ErrTooMany
	_, err := NewStored(st).Seal(t.Context(), deploy(), nil)
	require.ErrorIs(t, err, session.ErrTooMany)
	st.err = session.ErrCorrupt
	_, err = NewStored(st).Open(t.Context(), deploy(), "x")
	requireRejected(t, err, "corrupt")
}

func TestIncompleteBindings(t *testing.T) {
	t.Parallel()
	for name, guard := range guards(t) {
		for what, change := range map[string]func(*Binding){
			"no principal": func(b *Binding) { b.Principal = "" },
			"no method":    func(b *Binding) { b.Method = "" },
			"no name":      func(b *Binding) { b.Name = "" },
		} {
			b := deploy()
			change(&b)
			_, err := guard().Seal(t.Context(), b, nil)
			require.Equal(t, ErrIncomplete, err, "%s: %s", name, what)
			_, err = guard().Open(t.Context(), b, "x")
			require.Equal(t, ErrIncomplete, err, "%s: %s", name, what)
		}
		b := deploy()
		b.Arguments = json.RawMessage(`{"a":1,"a":2}`)
		_, err := guard().Seal(t.Context(), b, nil)
		requireRejected(t, err, name)
	}
	for name, guard := range guards(t, Anonymous()) {
		b := deploy()
		b.Principal = ""
		requestState, err := guard().Seal(t.Context(), b, nil)
		require.NoError(t, err, name)
		_, err = guard().Open(t.Context(), deploy(), requestState)
		requireRejected(t, err, name)
		_, err = guard().Open(t.Context(), b, requestState)
		require.NoError(t, err, name)
	}
}

func TestReasonIsLogged(t *testing.T) {
	t.Parallel()
	_, err := NewStored(memory()).Open(t.Context(), deploy(), "x")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("refused", slog.Any("error", err))
	require.Contains(t, log.String(), "requeststate: rejected: there is none")
	require.Contains(t, Reason(fmt.Errorf("tool: %w", err)), "there is none")
	require.Empty(t, Reason(nil))
	require.Empty(t, Reason(session.ErrNotFound))
}

func TestGuardsRefuseNonsense(t *testing.T) {
	t.Parallel()
	routing := session.NewRoutingStorage(memory(), 10)
	defer func() { require.NoError(t, routing.Close()) }()
	for name, f := range map[string]func(){
		"no storage":        func() { NewStored(nil) },
		"no Taker":          func() { NewStored(struct{ session.Storage }{}) },
		"Once for Stored":   func() { NewStored(memory(), Once(memory())) },
		"no ring":           func() { NewSealed(nil) },
		"no remote":         func() { Once(nil) },
		"no Creator":        func() { Once(struct{ session.Storage }{}) },
		"a local tier":      func() { Once(routing) },
		"negative lifetime": func() { WithLifetime(-1) },
		"tiny lifetime":     func() { WithLifetime(1) },
	} {
		require.Panics(t, f, name)
	}
}

// FuzzOpen presents anything to guards that have sealed one state.
func FuzzOpen(f *testing.F) {
	// The workers of the fuzzer are processes: with keys of their own, each opens only what it has sealed itself.
	keys, err := session.NewKeyRing(session.Key{ID: "a", Secret: []byte(rand.Text() + rand.Text())[:32]})
	require.NoError(f, err)
	sealed, stored := NewSealed(keys, Anonymous()), NewStored(memory(), Anonymous())
	b := Binding{Method: "m", Name: "n"}
	mine, err := sealed.Seal(context.Background(), b, []byte("state"))
	require.NoError(f, err)
	f.Add(mine, "", "m", "n", []byte(nil))
	f.Add("x"+mine, "p", "m", "n", []byte(`{"a":1}`))
	f.Add("", "", "", "", []byte(`{`))
	f.Fuzz(func(t *testing.T, requestState, principal, method, name string, arguments []byte) {
		b := Binding{principal, method, name, arguments}
		_, err := stored.Open(t.Context(), b, requestState)
		require.True(t, errors.Is(err, ErrRejected) || errors.Is(err, ErrIncomplete))
		_, err = sealed.Open(t.Context(), b, requestState)
		if err == nil {
			require.Equal(t, []string{mine, "", "m", "n"}, []string{requestState, principal, method, name})
			return
		}
		require.True(t, errors.Is(err, ErrRejected) || errors.Is(err, ErrIncomplete))
	})
}

// spy keeps what was stored last, and can fail. It is not safe for concurrent use.
type spy struct {
	*session.MemoryStorage
	stored *session.Session
	err    error
}

func (s *spy) Store(ctx context.Context, stored *session.Session) error {
	if s.stored = stored; s.err != nil {
		return s.err
	}
	return s.MemoryStorage.Store(ctx, stored)
}

func (s *spy) Create(ctx context.Context, stored *session.Session) error {
	if s.stored = stored; s.err != nil {
		return s.err
	}
	return s.MemoryStorage.Create(ctx, stored)
}

func (s *spy) Take(ctx context.Context, id string) (*session.Session, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.MemoryStorage.Take(ctx, id)
}
