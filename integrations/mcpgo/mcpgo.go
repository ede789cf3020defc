package mcpgo

import (
	"context"
	"errors"
	"net/http"

	"github.com/mark3labs/mcp-go/server"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// Handler returns the handler to serve instead of s, which must have a [Resolver]. The package documentation says what
// it does. The storage, which must be a [session.Creator], stays the caller's to close, after Shutdown. The options are
// those of [mcphttp.NewSessions]. Handler panics when st is no Creator, or s is nil.
func Handler(st session.Storage, s *server.StreamableHTTPServer, opts ...mcphttp.Option) *mcphttp.Sessions {
	if s == nil {
		panic("mcpgo: Handler: the server is nil")
	}
	return mcphttp.NewSessions(st, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{ResponseWriter: w, hasID: r.Header.Get(server.HeaderKeySessionID) != ""}
		s.ServeHTTP(v, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	}), opts...)
}

// Resolver returns what the server behind a [Handler] needs, for server.WithSessionIdManagerResolver. It makes ids, by
// [session.NewID], and leaves to the Handler which of them are sessions. A request that does not come through one has
// no session: mcp-go answers its initialize without an id, and all else, but for GET, with an error.
func Resolver() server.SessionIdManagerResolver { return resolver{} }

type resolver struct{}

// ResolveSessionIdManager is called without a request when mcp-go frees its own memory: it shuts down, or has not seen
// a session for a while. That ends no session, which may be in use on another replica.
func (resolver) ResolveSessionIdManager(r *http.Request) server.SessionIdManager { //nolint:revive // mcp-go's name
	if r == nil {
		return &server.StatelessSessionIdManager{}
	}
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		return v
	}
	return outsider{}
}

// outsider is the manager of a request that does not come through a Handler.
type outsider struct{}

var errOutsider = errors.New("mcpgo: the request does not come through a Handler")

func (outsider) Generate() string               { return "" }
func (outsider) Validate(string) (bool, error)  { return false, errOutsider }
func (outsider) Terminate(string) (bool, error) { return false, errOutsider }
