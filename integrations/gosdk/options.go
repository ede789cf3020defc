package gosdk

import (
	"fmt"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Option configures a [RequestState].
type Option func(o *options)

type options struct {
	principal    func(extra *mcp.RequestExtra) (string, error)
	legacyRounds int
	logger       *slog.Logger
}

const defaultLegacyRounds = 10

// WithPrincipal sets how it is known who has sent a request: from what has come with this very request, its verified
// token or a header that a gateway sets. extra is nil for a client in the same process or on a pipe. The function
// returns what [session.Principal] makes of issuer and subject, or "" if it is not known; the guard then refuses,
// unless it is [requeststate.Anonymous]. An error counts as an outage, and the function logs it itself. It may be
// called by any number of goroutines at a time. The default is that of [Principal]. WithPrincipal panics when the
// function is nil.
func WithPrincipal(principal func(extra *mcp.RequestExtra) (string, error)) Option {
	if principal == nil {
		panic("gosdk: WithPrincipal: the function is nil")
	}
	return func(o *options) { o.principal = principal }
}

// WithLegacyRounds sets how often a handler is called for one call of a client that cannot repeat it by itself: one
// that uses a version of the protocol before 2026-07-28. For such a client the middleware sends the questions of a
// handler while the call waits, and calls the handler again with the answers; its states do not leave the process. A
// handler that still asks in its last round ends the call with an error. Because the SDK calls such a handler twice,
// an odd number counts as the next even one. 0 means the default, 10, which is also what the SDK's clients do by
// themselves. It panics when n is negative.
//
// Only a client with a session can be asked. A server that is stateless tells a client of an older protocol that its
// call needs input that it cannot ask for.
func WithLegacyRounds(n int) Option {
	if n < 0 {
		panic(fmt.Sprintf("gosdk: WithLegacyRounds(%d): cannot be negative", n))
	}
	if n == 0 {
		n = defaultLegacyRounds
	}
	return func(o *options) { o.legacyRounds = n }
}

// WithLogger sets where it is logged that a requestState was rejected, and why (a warning), and that a guard has failed
// (an error). No requestState, principal or argument is logged. The default, also for nil, is slog.Default().
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		logger = slog.Default()
	}
	return func(o *options) { o.logger = logger }
}

func apply(opts []Option) options {
	o := options{
		principal:    func(extra *mcp.RequestExtra) (string, error) { return principalOf(extra), nil },
		legacyRounds: defaultLegacyRounds,
		logger:       slog.Default(),
	}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}
