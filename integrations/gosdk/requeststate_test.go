package gosdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/logtest"
	"github.com/seed34611480/session/requeststate"
)

// TestNothingIsChangedInPlace has a handler that returns one result all the time, and middleware outside that looks at
// requests and results afterwards.
func TestNothingIsChangedInPlace(t *testing.T) {
	t.Parallel()
	shared := &mcp.CallToolResult{InputRequests: questionTo("?"), RequestState: "state"}
	server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if req.Params.RequestState != "" && req.Params.RequestState != "state" {
			return nil, errors.New("the handler got " + req.Params.RequestState)
		}
		return shared, nil
	})
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			call, ok := req.(*mcp.CallToolRequest)
			if !ok {
				return next(ctx, method, req)
			}
			before := *call.Params
			res, err := next(ctx, method, req)
			if before.RequestState != call.Params.RequestState {
				return nil, errors.New("the params were changed")
			}
			return res, err
		}
	})
	cs := connect(t, server, modern, mcp.ClientOptions{})
	state := ""
	for range 3 {
		res, err := callTool(t, cs, state)
		require.NoError(t, err)
		require.NotEmpty(t, res.RequestState)
		require.NotEqual(t, "state", res.RequestState)
		state = res.RequestState
	}
	require.Equal(t, "state", shared.RequestState)
}

// TestEveryStateIsSealed: a state without a question is for the client, too.
func TestEveryStateIsSealed(t *testing.T) {
	t.Parallel()
	for _, version := range []string{modern, legacyVersion} {
		server := newTool(func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			res := text("after " + req.Params.RequestState)
			res.RequestState = "state"
			return res, nil
		})
		cs := connect(t, server, version, mcp.ClientOptions{})
		first, err := callTool(t, cs, "")
		require.NoError(t, err)
		require.NotEqual(t, "state", first.RequestState, version)
		second, err := callTool(t, cs, first.RequestState)
		require.NoError(t, err)
		require.Equal(t, "after state", second.Content[0].(*mcp.TextContent).Text)
	}
}

// TestSealedResultIsPrivate: a cache that is shared would give one user's requestState to others.
func TestSealedResultIsPrivate(t *testing.T) {
	t.Parallel()
	server := mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, &mcp.ServerOptions{
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) { c.TTLMs, c.CacheScope = 60_000, "public" },
	})
	server.AddResource(&mcp.Resource{Name: "plan", URI: planURI},
		func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			if req.Params.RequestState != "" {
				return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{Text: "done"}}}, nil
			}
			return &mcp.ReadResourceResult{InputRequests: questionTo("?"), RequestState: "state"}, nil
		})
	server.AddReceivingMiddleware(RequestState(anonymous()))
	cs := connect(t, server, modern, mcp.ClientOptions{})
	asks, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: planURI})
	require.NoError(t, err)
	require.Equal(t, mcp.Cacheable{CacheScope: "private"}, asks.Cacheable)
	done, err := cs.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: planURI, RequestState: asks.RequestState})
	require.NoError(t, err)
	require.Equal(t, mcp.Cacheable{TTLMs: 60_000, CacheScope: "public"}, done.Cacheable)
}

// fakeGuard fails as it is told to.
type fakeGuard struct{ seal, open error }

func (g fakeGuard) Seal(context.Context, requeststate.Binding, []byte) (string, error) {
	return "sealed", g.seal
}

func (g fakeGuard) Open(context.Context, requeststate.Binding, string) ([]byte, error) {
	return []byte("opened"), g.open
}

func TestErrorsOfGuards(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err                    error
		whenSealing, whenOpens *jsonrpc.Error
	}{
		{requeststate.ErrRejected, errArguments, errRejected},
		{requeststate.ErrIncomplete, errInternal, errRejected},
		{session.ErrUnavailable, errUnavailable, errUnavailable},
		{session.ErrClosed, errUnavailable, errUnavailable},
		{context.DeadlineExceeded, errUnavailable, errUnavailable},
		{context.Canceled, errUnavailable, errUnavailable},
		{errors.New("secret of a foreign guard"), errUnavailable, errUnavailable},
		{session.ErrTooMany, errTooMany, errTooMany},
		{session.ErrTooLarge, errInternal, errInternal},
		{session.ErrEncode, errInternal, errInternal},
		{session.ErrLifetime, errInternal, errInternal},
		{errors.ErrUnsupported, errInternal, errInternal},
		{fmt.Errorf("wrapped: %w", session.ErrUnavailable), errUnavailable, errUnavailable},
	} {
		called := false
		server := mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, nil)
		server.AddTool(&mcp.Tool{Name: "tool", InputSchema: map[string]any{"type": "object"}},
			func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				called = true
				return &mcp.CallToolResult{InputRequests: questionTo("?"), RequestState: "state"}, nil
			})
		server.AddReceivingMiddleware(RequestState(fakeGuard{seal: tt.err, open: tt.err}))
		cs := connect(t, server, modern, mcp.ClientOptions{})

		_, err := callTool(t, cs, "presented")
		requireWireError(t, err, tt.whenOpens)
		require.False(t, called, "the handler does not run after %v", tt.err)
		_, err = callTool(t, cs, "")
		requireWireError(t, err, tt.whenSealing)
		require.True(t, called)
	}
	require.EqualValues(t, -32602, errRejected.Code)
	require.EqualValues(t, -32602, errArguments.Code)
	require.EqualValues(t, -32603, errUnavailable.Code)
	require.Contains(t, errUnavailable.Message, "try again")
	require.EqualValues(t, -32603, errTooMany.Code)
	require.EqualValues(t, -32603, errInternal.Code)
}

// breakable is a storage that can be out of reach.
type breakable struct {
	*session.MemoryStorage
	broken atomic.Bool
}

func (b *breakable) Create(ctx context.Context, s *session.Session) error {
	if b.broken.Load() {
		return session.ErrUnavailable
	}
	return b.MemoryStorage.Create(ctx, s)
}

func TestLog(t *testing.T) {
	t.Parallel()
	log := new(logtest.Log)
	st := &breakable{MemoryStorage: session.NewMemoryStorage(time.Hour)}
	server := newServer(requeststate.NewSealed(ring(t, "ours"), requeststate.Once(st)),
		WithLogger(slog.New(slog.NewJSONHandler(log, nil))))
	owner := raw{t: t, url: serve(t, handler(t, server, true)), token: alice}
	target := targets()[0]
	first := owner.call(target.method, target.params)
	require.Empty(t, log.Take(), "ordinary calls are not logged")

	requireClean := func(text string) {
		t.Helper()
		require.Contains(t, text, `"method":"tools/call"`)
		for _, secret := range []string{first.Result.RequestState, "alice", "mallory", "shop", "evil"} {
			require.NotContains(t, text, secret)
		}
	}
	attacker := owner
	attacker.token = mallory
	attacker.call(target.method, repeated(target.params, first.Result.RequestState, "evil"))
	text := log.Take()
	require.Contains(t, text, `"level":"WARN","msg":"gosdk: requestState rejected"`)
	requireClean(text)

	owner.call(target.method, repeated(target.params, first.Result.RequestState, "a"))
	require.Empty(t, log.Take())
	owner.call(target.method, repeated(target.params, first.Result.RequestState, "a"))
	text = log.Take()
	require.Contains(t, text, `"reason":"it was used before"`)
	requireClean(text)

	st.broken.Store(true)
	second := owner.call(target.method, target.params)
	r := owner.call(target.method, repeated(target.params, second.Result.RequestState, "a"))
	require.Equal(t, errUnavailable.Message, r.Error.Message)
	text = log.Take()
	require.Contains(t, text, `"level":"ERROR","msg":"gosdk: requestState could not be opened"`)
	require.Contains(t, text, "storage unavailable")
	requireClean(text)
}

func TestPrincipalFails(t *testing.T) {
	t.Parallel()
	log := new(logtest.Log)
	server := newServer(requeststate.NewSealed(ring(t, "ours")), WithLogger(slog.New(slog.NewJSONHandler(log, nil))),
		WithPrincipal(func(*mcp.RequestExtra) (string, error) { return "", errors.New("no such token: secret") }))
	owner := raw{t: t, url: serve(t, handler(t, server, true)), token: alice}
	target := targets()[0]
	for _, params := range []map[string]any{target.params, repeated(target.params, "invented", "a")} {
		r := owner.call(target.method, params)
		require.Equal(t, errUnavailable.Message, r.Error.Message, r.body)
		text := log.Take()
		require.Contains(t, text, "WithPrincipal")
		require.NotContains(t, text, "secret")
	}
	require.Equal(t, http.StatusOK, owner.call("tools/call", map[string]any{
		"name": "remove", "arguments": map[string]any{"service": "shop"},
	}).Status, "what has no state needs no principal")
}

// TestPrincipalOfTheRequest is about stateful sessions. The context of a handler has the token of the first request.
func TestPrincipalOfTheRequest(t *testing.T) {
	t.Parallel()
	guard := requeststate.NewSealed(ring(t, "ours"))
	server := mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, nil)
	server.AddTool(&mcp.Tool{Name: "tool", InputSchema: map[string]any{"type": "object"}},
		func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			res := text("done")
			res.RequestState = "state"
			return res, nil
		})
	server.AddReceivingMiddleware(RequestState(guard))
	c := raw{t: t, url: serve(t, handler(t, server, false)), token: alice}.initialize()
	for _, issuer := range []string{"issuer", "second-issuer"} {
		c.token = issuer + "/alice"
		r := c.call("tools/call", map[string]any{"name": "tool"})
		state, err := guard.Open(t.Context(), requeststate.Binding{
			Principal: session.Principal(issuer, "alice"), Method: "tools/call", Name: "tool",
		}, r.Result.RequestState)
		require.NoError(t, err, r.body)
		require.Equal(t, "state", string(state))
	}
}

func TestWithoutPrincipal(t *testing.T) {
	t.Parallel()
	target := targets()[0]
	owner := raw{t: t, token: "issuer/"} // a token without a user
	owner.url = serve(t, handler(t, newServer(requeststate.NewSealed(ring(t, "ours"))), true))
	r := owner.call(target.method, target.params)
	require.Equal(t, errInternal.Message, r.Error.Message, r.body)

	owner.url = serve(t, handler(t, newServer(requeststate.NewSealed(ring(t, "ours"), requeststate.Anonymous())), true))
	for _, answer := range []string{"", "a", "b", "c"} {
		params := target.params
		if answer != "" {
			params = repeated(params, r.Result.RequestState, answer)
		}
		r = owner.call(target.method, params)
	}
	require.Contains(t, r.body, target.done)
}

// TestCallWithoutStateIsFree: the middleware is in front of every call.
func TestCallWithoutStateIsFree(t *testing.T) {
	result := text("done")
	h := RequestState(fakeGuard{})(func(context.Context, string, mcp.Request) (mcp.Result, error) { return result, nil })
	for _, req := range []mcp.Request{
		&mcp.CallToolRequest{Params: &mcp.CallToolParamsRaw{Name: "tool", Arguments: []byte(`{"service":"shop"}`)}},
		&mcp.GetPromptRequest{Params: &mcp.GetPromptParams{Name: "p", Arguments: map[string]string{"service": "shop"}}},
		&mcp.ReadResourceRequest{Params: &mcp.ReadResourceParams{URI: planURI}},
		&mcp.ListToolsRequest{Params: &mcp.ListToolsParams{}},
	} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if _, err := h(t.Context(), "tools/call", req); err != nil {
				panic(err)
			}
		}))
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "gosdk: RequestState: the guard is nil", func() { RequestState(nil) })
	require.PanicsWithValue(t, "gosdk: WithPrincipal: the function is nil", func() { WithPrincipal(nil) })
	require.PanicsWithValue(t, "gosdk: WithLegacyRounds(-1): cannot be negative", func() { WithLegacyRounds(-1) })
	require.NotPanics(t, func() { RequestState(fakeGuard{}, WithLogger(nil), WithLegacyRounds(0)) })
}
