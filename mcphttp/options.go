package mcphttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed34611480/session"
)

// Option configures a [Sessions] or a [Proxy]. It checks its argument when it is made.
type Option interface {
	ProxyOption
	applySessions(o *options)
}

// options are those of Sessions and Proxy.
type options struct {
	owner   func(r *http.Request) (string, error) // nil: sessions have no owner
	maxBody int64
	grace   time.Duration
	logger  *slog.Logger
}

const (
	defaultMaxBody = 4 << 20
	defaultGrace   = 5 * time.Second
)

func defaultOptions() options {
	return options{maxBody: defaultMaxBody, grace: defaultGrace, logger: slog.Default()}
}

type option func(o *options)

func (set option) applySessions(o *options)   { set(o) }
func (set option) applyProxy(o *proxyOptions) { set(&o.options) }

// WithOwner sets how the owner of a request is found: [session.Principal] of the issuer and the subject of a token that
// was verified, for this request, before it came here. It never is something that the client only says. A session gets
// the owner of the request that has begun it, and for all others it is one that does not exist: 404.
//
// It is no authentication: of the modern era, a [Sessions] checks no request, and a [Proxy] only those about a task and
// a tools/call, which may begin one. For all others the function is not called. Put authentication in front of the
// handler, for all requests.
//
// An error, and an owner that is empty, refuse the request with 401; with 503 if the error matches
// [session.ErrUnavailable]. The function is called once for each request that needs the owner: of a session, of a task
// (see [Proxy]), or that may begin one. It must not read the body, and is called by any number of goroutines at a time.
// By default sessions have no owner: all who know an id may use it. WithOwner panics when owner is nil.
func WithOwner(owner func(r *http.Request) (string, error)) Option {
	if owner == nil {
		panic("mcphttp: WithOwner: the function is nil")
	}
	return option(func(o *options) { o.owner = owner })
}

// ownerOf returns the owner of a request, "" if there are no owners.
func (o *options) ownerOf(r *http.Request) (string, error) {
	if o.owner == nil {
		return "", nil
	}
	owner, err := o.owner(r)
	switch {
	case errors.Is(err, session.ErrUnavailable):
		return "", err
	case err != nil || owner == "":
		return "", errNoOwner
	}
	return owner, nil
}

// WithMaxBody limits the body of a request, in bytes: a longer one is answered with 413. 0 means the default, 4 MiB. It
// panics when bytes is negative.
func WithMaxBody(bytes int64) Option {
	if bytes < 0 {
		panic(fmt.Sprintf("mcphttp: WithMaxBody(%d): the limit cannot be negative", bytes))
	}
	if bytes == 0 {
		bytes = defaultMaxBody
	}
	return option(func(o *options) { o.maxBody = bytes })
}

// WithGrace sets how long calls may go on after Shutdown was called, before they are cut. Streams, which would last as
// long as their client wants, are cut at once. 0 means the default, 5 s. It panics when d is negative.
func WithGrace(d time.Duration) Option {
	if d < 0 {
		panic(fmt.Sprintf("mcphttp: WithGrace(%v): cannot be negative", d))
	}
	if d == 0 {
		d = defaultGrace
	}
	return option(func(o *options) { o.grace = d })
}

// WithLogger sets where failures are logged that no client can do anything about. No session id and no owner is. The
// default is [slog.Default]. It panics when logger is nil.
func WithLogger(logger *slog.Logger) Option {
	if logger == nil {
		panic("mcphttp: WithLogger: the logger is nil")
	}
	return option(func(o *options) { o.logger = logger })
}
