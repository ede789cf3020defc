package gosdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/internal/redistest"
)

func TestPrincipal(t *testing.T) {
	t.Parallel()
	token := func(user string, issuer any) *mcp.RequestExtra {
		return &mcp.RequestExtra{TokenInfo: &auth.TokenInfo{UserID: user, Extra: map[string]any{"iss": issuer}}}
	}
	for name, tt := range map[string]struct {
		extra *mcp.RequestExtra
		want  string
	}{
		"in the same process":          {nil, ""},
		"without a token":              {&mcp.RequestExtra{Header: http.Header{}}, ""},
		"without a user":               {token("", "https://issuer"), ""},
		"with an issuer":               {token("alice", "https://issuer"), session.Principal("https://issuer", "alice")},
		"with another issuer":          {token("alice", "https://other"), session.Principal("https://other", "alice")},
		"with an issuer of a bad type": {token("alice", 7), session.Principal("", "alice")},
		"without an issuer": {
			&mcp.RequestExtra{TokenInfo: &auth.TokenInfo{UserID: "alice"}}, session.Principal("", "alice"),
		},
	} {
		require.Equal(t, tt.want, Principal(&mcp.CallToolRequest{Extra: tt.extra}), name)
	}
}

func TestToolError(t *testing.T) {
	t.Parallel()
	own := errors.New("the basket is full")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{session.ErrNotFound, "unknown or expired handle: start again with the tool that returned it"},
		{session.ErrCorrupt, "unknown or expired handle: start again with the tool that returned it"},
		{session.ErrUnavailable, "unavailable at the moment: keep the handle, and try again"},
		{session.ErrClosed, "unavailable at the moment: keep the handle, and try again"},
		{context.DeadlineExceeded, "unavailable at the moment: keep the handle, and try again"},
		{session.ErrTooLarge, "too large: this cannot be kept behind one handle"},
		{session.ErrTooMany, "too many handles: end one that is not needed any more, or try again later"},
		{own, "the basket is full"},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("secret text around it: %w", tt.err)} {
			got := ToolError(err)
			require.ErrorIs(t, got, tt.err)
			if !errors.Is(err, own) {
				require.EqualError(t, got, tt.want)
			}
		}
	}
	require.Equal(t, own, ToolError(own), "as it is")
	require.NoError(t, ToolError(nil))

	for _, err := range []error{handle.ErrNoOwner, session.ErrEncode, session.ErrLifetime, errors.ErrUnsupported} {
		got, ok := ToolError(err).(*jsonrpc.Error) //nolint:errorlint // the SDK looks at the type, too
		require.True(t, ok, "%v is for the programmer, not for the model", err)
		require.EqualValues(t, -32603, got.Code)
	}
}

type basket struct {
	Items []string `json:"items"`
}

type (
	openIn    struct{}
	openOut   struct{ Basket string }
	addIn     struct{ Basket, Item string }
	basketOut struct{ Items []string }
	basketIn  struct{ Basket string }
)

// addBasketTools adds tools as the documentation recommends to write them.
func addBasketTools(server *mcp.Server, baskets *handle.Store[basket]) *mcp.Server {
	mcp.AddTool(server, &mcp.Tool{Name: "open_basket"},
		func(ctx context.Context, req *mcp.CallToolRequest, _ openIn) (*mcp.CallToolResult, openOut, error) {
			h, err := For(baskets, req).Mint(ctx, basket{Items: []string{}})
			return nil, openOut{h}, ToolError(err)
		})
	mcp.AddTool(server, &mcp.Tool{Name: "add_item"},
		func(ctx context.Context, req *mcp.CallToolRequest, in addIn) (*mcp.CallToolResult, basketOut, error) {
			b, err := For(baskets, req).Update(ctx, in.Basket, func(b *basket) error {
				if len(b.Items) == 3 {
					return errors.New("the basket is full")
				}
				b.Items = append(b.Items, in.Item)
				return nil
			})
			return nil, basketOut(b), ToolError(err)
		})
	mcp.AddTool(server, &mcp.Tool{Name: "check_out"},
		func(ctx context.Context, req *mcp.CallToolRequest, in basketIn) (*mcp.CallToolResult, basketOut, error) {
			b, err := For(baskets, req).Take(ctx, in.Basket)
			return nil, basketOut(b), ToolError(err)
		})
	return server
}

// requireTool calls a tool, and checks its answer.
func requireTool(t *testing.T, c client, name string, arguments map[string]any, want string, isError bool) string {
	t.Helper()
	got, failed, err := c.tool(t.Context(), name, arguments)
	require.NoError(t, err)
	require.Equal(t, isError, failed, got)
	if want != "" {
		require.Equal(t, want, got)
	}
	return got
}

const unknownHandle = "unknown or expired handle: start again with the tool that returned it"

func TestHandlesOnThreeReplicas(t *testing.T) {
	f := startFleet(t, redistest.Start(t).Addr(), func(r *replica) *mcp.Server {
		server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
		return addBasketTools(server, handle.New[basket](r.sessions, "basket", handle.WithMaxLifetime(time.Hour)))
	})
	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			owner := connect(t, "http://127.0.0.1", f.as(alice), new(user))
			other := connect(t, "http://127.0.0.1", f.as(mallory), new(user))
			opened := requireTool(t, owner, "open_basket", nil, "", false)
			var out openOut
			_, err := fmt.Sscanf(opened, `{"Basket":%q}`, &out.Basket)
			require.NoError(t, err, opened)

			for range 2 { // on replicas that have it locally, and on others
				requireTool(t, other, "add_item", map[string]any{"Basket": out.Basket, "Item": "evil"}, unknownHandle, true)
			}
			for i, want := range []string{`{"Items":["0"]}`, `{"Items":["0","1"]}`, `{"Items":["0","1","2"]}`} {
				in := map[string]any{"Basket": out.Basket, "Item": strconv.Itoa(i)}
				requireTool(t, owner, "add_item", in, want, false)
			}
			in := map[string]any{"Basket": out.Basket, "Item": "4"}
			requireTool(t, owner, "add_item", in, "the basket is full", true)
			requireTool(t, owner, "add_item", map[string]any{"Basket": "", "Item": "x"}, unknownHandle, true)

			in = map[string]any{"Basket": out.Basket}
			requireTool(t, other, "check_out", in, unknownHandle, true)
			requireTool(t, owner, "check_out", in, `{"Items":["0","1","2"]}`, false)
			requireTool(t, owner, "check_out", in, unknownHandle, true)
		})
	}
	f.requireSpread(t)
}

func TestHandlesWithoutUser(t *testing.T) {
	t.Parallel()
	server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
	addBasketTools(server, handle.New[basket](session.NewMemoryStorage(time.Hour), "basket"))
	c := raw{t: t, url: serve(t, handler(t, server, true)), token: "issuer/"}
	r := c.call("tools/call", map[string]any{"name": "open_basket", "arguments": map[string]any{}})
	require.Equal(t, -32603, r.Error.Code, r.body)
}

func TestHandlesDuringOutage(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	f := startFleet(t, redis.Addr(), func(r *replica) *mcp.Server {
		server := mcp.NewServer(&mcp.Implementation{Name: "shop", Version: "1"}, nil)
		return addBasketTools(server, handle.New[basket](r.remote, "basket"))
	})
	c := clients["go-sdk modern"](t, "http://127.0.0.1", f.as(alice), new(user))
	redis.Kill()
	const away = "unavailable at the moment: keep the handle, and try again"
	requireTool(t, c, "open_basket", nil, away, true)
	requireTool(t, c, "add_item", map[string]any{"Basket": "x", "Item": "y"}, away, true)
	redis.Restart()
	requireTool(t, c, "open_basket", nil, "", false)
}
