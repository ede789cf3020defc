package gosdk

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
	"github.com/seed34611480/session/requeststate"
)

// target is a call that asks three times.
type target struct {
	method string
	params map[string]any
	done   string // part of the last answer
}

func targets() []target {
	return []target{
		{"tools/call", map[string]any{
			"name": "deploy", "arguments": map[string]any{"service": "shop", "instances": 3},
		}, "shop with a,b,c,"},
		{"prompts/get", map[string]any{
			"name": "review", "arguments": map[string]any{"service": "shop"},
		}, "shop with a,b,c,"},
		{"resources/read", map[string]any{"uri": planURI}, "plan with a,b,c,"},
	}
}

// requireRejected checks that a client gets to know nothing else.
func requireRejected(t *testing.T, r reply, legacy bool, what string) {
	t.Helper()
	require.Equal(t, errRejected.Message, r.Error.Message, what+": "+r.body)
	require.Equal(t, -32602, r.Error.Code, what)
	status := http.StatusBadRequest // as the SDK answers -32602 in this era
	if legacy {
		status = http.StatusOK
	}
	require.Equal(t, status, r.Status, what)
}

// attack is a request of an attacker who has seen a requestState of alice's.
type attack struct {
	name   string
	change func(c *raw, params map[string]any)
}

func attacks(forged string) []attack {
	state := func(change func(string) string) func(*raw, map[string]any) {
		return func(_ *raw, params map[string]any) {
			s, _ := params["requestState"].(string)
			params["requestState"] = change(s)
		}
	}
	return []attack{
		{"tampered at the front", state(func(s string) string { return flipped(s, 0) })},
		{"tampered at the end", state(func(s string) string { return flipped(s, len(s)-1) })},
		{"cut", state(func(s string) string { return s[:len(s)-1] })},
		{"longer", state(func(s string) string { return s + "A" })},
		{"with a line break", state(func(s string) string { return s + "\n" })},
		{"invented", state(func(string) string { return "3:a,b," })},
		{"huge", state(func(string) string { return strings.Repeat("A", 1<<20) })},
		{"not ASCII", state(func(string) string { return "\u00fc\x00" })},
		{"sealed by another server", state(func(string) string { return forged })},
		{"other user", func(c *raw, _ map[string]any) { c.token = mallory }},
		{"same user id of another issuer", func(c *raw, _ map[string]any) { c.token = "other/alice" }},
		{"without a user", func(c *raw, _ map[string]any) { c.token = "issuer/" }},
		{"legacy client", func(c *raw, _ map[string]any) { c.token = mallory; *c = c.initialize() }},
	}
}

// flipped returns s with another character at i.
func flipped(s string, i int) string {
	other := byte('A')
	if s[i] == other {
		other = 'B'
	}
	return s[:i] + string(other) + s[i+1:]
}

// otherCalls are attacks that have a state go on in a call that it is not for.
func otherCalls(method string) []attack {
	set := func(key string, value any) func(*raw, map[string]any) {
		return func(_ *raw, params map[string]any) { params[key] = value }
	}
	switch method {
	case "tools/call":
		return []attack{
			{"other tool", set("name", "remove")},
			{"tool that does not exist", set("name", "nothing")},
			{"other arguments", set("arguments", map[string]any{"service": "bank"})},
			{"no arguments", set("arguments", nil)},
			{"one more instance", set("arguments", map[string]any{"service": "shop", "instances": 4})},
		}
	case "prompts/get":
		return []attack{
			{"other prompt", set("name", "other")},
			{"other arguments", set("arguments", map[string]any{"service": "bank"})},
			{"no arguments", set("arguments", nil)},
		}
	default:
		return []attack{{"other resource", set("uri", "deploy://other")}}
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	for name, newGuard := range guards {
		for _, target := range targets() {
			t.Run(name+"/"+target.method, func(t *testing.T) {
				t.Parallel()
				st := session.NewMemoryStorage(time.Hour)
				server := newServer(newGuard(t, st))
				owner := raw{t: t, url: serve(t, handler(t, server, true)), token: alice}
				forged, err := requeststate.NewSealed(ring(t, "theirs")).Seal(t.Context(), requeststate.Binding{
					Principal: session.Principal("issuer", "alice"), Method: target.method, Name: "deploy",
				}, []byte("3:a,b,"))
				require.NoError(t, err)

				first := owner.call(target.method, target.params)
				require.Equal(t, "input_required", first.Result.ResultType, first.body)
				require.NotContains(t, first.Result.RequestState, ":", "the state is not shown")
				for _, attack := range append(attacks(forged), otherCalls(target.method)...) {
					attacker, params := owner, repeated(target.params, first.Result.RequestState, "evil")
					attack.change(&attacker, params)
					requireRejected(t, attacker.call(target.method, params), attacker.legacy, attack.name)
				}

				// None of it has used up the owner's, and the call goes on to its end.
				r := first
				for _, answer := range []string{"a", "b", "c"} {
					require.NotEmpty(t, r.Result.RequestState, r.body)
					r = owner.call(target.method, repeated(target.params, r.Result.RequestState, answer))
				}
				require.Equal(t, "complete", r.Result.ResultType, r.body)
				require.Contains(t, r.body, target.done)

				again := owner.call(target.method, repeated(target.params, first.Result.RequestState, "x"))
				if name == "sealed" {
					require.Equal(t, "input_required", again.Result.ResultType, "without Once it works until it expires")
				} else {
					requireRejected(t, again, false, "replayed")
				}
			})
		}
	}
}

// TestAttacksWithoutGuard shows that the table of attacks is one: the SDK alone lets an invented state pass.
func TestAttacksWithoutGuard(t *testing.T) {
	t.Parallel()
	attacker := raw{t: t, url: serve(t, handler(t, newServer(nil), true)), token: mallory}
	for _, target := range targets() {
		r := attacker.call(target.method, repeated(target.params, "3:a,b,", "c"))
		require.Contains(t, r.body, target.done)
	}
}

func TestLegacySessionIsGuarded(t *testing.T) {
	t.Parallel()
	for name, newGuard := range guards {
		server := newServer(newGuard(t, session.NewMemoryStorage(time.Hour)))
		client := raw{t: t, url: serve(t, handler(t, server, false)), token: alice}.initialize()
		for _, target := range targets() {
			r := client.call(target.method, repeated(target.params, "3:a,b,", "evil"))
			requireRejected(t, r, true, name)
		}
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	const lifetime = time.Millisecond
	for name, newGuard := range guards {
		st := session.NewMemoryStorage(time.Hour)
		server := newServer(newGuard(t, st, requeststate.WithLifetime(lifetime)))
		owner := raw{t: t, url: serve(t, handler(t, server, true)), token: alice}
		for _, target := range targets() {
			first := owner.call(target.method, target.params)
			time.Sleep(2 * lifetime) // all of its life, and no more than that
			r := owner.call(target.method, repeated(target.params, first.Result.RequestState, "a"))
			requireRejected(t, r, false, name)
		}
	}
}

func TestEqualArguments(t *testing.T) {
	t.Parallel()
	owner := raw{t: t, url: serve(t, handler(t, newServer(requeststate.NewSealed(ring(t, "ours"))), true)), token: alice}
	first := owner.call("tools/call", map[string]any{
		"name": "deploy", "arguments": rawJSON(`{"service":"shop","instances":3}`),
	})
	r := owner.call("tools/call", repeated(map[string]any{
		"name": "deploy", "arguments": rawJSON(`{ "instances": 3.0, "service": "sh\u006fp" }`),
	}, first.Result.RequestState, "a"))
	require.Equal(t, "input_required", r.Result.ResultType, r.body)
}

func TestAmbiguousArguments(t *testing.T) {
	t.Parallel()
	owner := raw{t: t, url: serve(t, handler(t, newServer(requeststate.NewSealed(ring(t, "ours"))), true)), token: alice}
	r := owner.call("tools/call", map[string]any{
		"name": "deploy", "arguments": rawJSON(`{"service":"shop","service":"bank"}`),
	})
	require.Equal(t, -32602, r.Error.Code, r.body)
	require.Equal(t, errArguments.Message, r.Error.Message)
}

// TestParallelReplay has many requests present one requestState at a time, on three replicas.
func TestParallelReplay(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	for _, guardName := range []string{"stored", "once"} {
		f := startFleet(t, redis.Addr(), func(r *replica) *mcp.Server { return newServer(guards[guardName](t, r.remote)) })
		c := raw{t: t, url: "http://127.0.0.1", web: f.as(alice), token: alice}
		for _, target := range targets() {
			first := c.call(target.method, target.params)
			var accepted, rejected atomic.Int64
			var calls sync.WaitGroup
			for range 12 {
				calls.Go(func() {
					switch r := c.call(target.method, repeated(target.params, first.Result.RequestState, "a")); {
					case r.Error.Message == errRejected.Message:
						rejected.Add(1)
					case r.Result.ResultType == "input_required":
						accepted.Add(1)
					}
				})
			}
			calls.Wait()
			require.EqualValues(t, 1, accepted.Load(), guardName)
			require.EqualValues(t, 11, rejected.Load(), guardName)
		}
		f.requireSpread(t)
	}
}
