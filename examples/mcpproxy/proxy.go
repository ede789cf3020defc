package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mcphttp"
)

// This file is the part to copy: one replica of a proxy, and what a server behind it serves. The rest is the demo.

// newClient connects to Redis. A quick 503 is better for a client than a long wait, so it fails fast.
func newClient(options redis.Options) *redis.Client {
	options.ContextTimeoutEnabled = true // the deadline of a request also bounds its commands
	options.DialerRetries, options.MaxRetries = 1, 1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = time.Second, time.Second, time.Second
	return redis.NewClient(&options)
}

// edge is one replica of the proxy.
type edge struct {
	client   *redis.Client
	sessions *session.RoutingStorage
	proxy    *mcphttp.Proxy
	server   *http.Server
}

// newEdge returns a replica that sends each request to the backend that has what the request is about. Replicas share
// only Redis, and any of them may get any request.
func newEdge(client *redis.Client, backends []*url.URL, log *slog.Logger, opts ...session.RoutingOption) *edge {
	remote := session.NewRedisStorage(client, sessionTTL,
		session.WithKeyPrefix(keyPrefix),
		session.WithOwnerIndex()) // so that Revoke finds all sessions of a user
	sessions := session.NewRoutingStorage(remote, maxLocal,
		append(opts, session.WithLogger(log),
			session.WithFencing())...) // so that Revoke and Fence wait until no replica serves what has ended
	proxy := mcphttp.NewProxy(sessions, backends,
		mcphttp.WithOwner(ownerOf), mcphttp.WithGrace(grace), mcphttp.WithLogger(log))
	server := &http.Server{
		// The demo's backends ask for the user's token, too. For others, remove it here: docs/mcp.md has withoutToken.
		Handler:           auth.RequireBearerToken(verify, nil)(proxy),
		ReadHeaderTimeout: 5 * time.Second,
	}
	return &edge{client, sessions, proxy, server}
}

// ownerOf returns the user of the verified token. A session exists for the user only who has begun it.
func ownerOf(r *http.Request) (string, error) {
	return session.Principal(issuer, auth.TokenInfoFromContext(r.Context()).UserID), nil
}

// shutdown ends a replica without harm to any client, when a balancer sends it no more requests.
func (e *edge) shutdown(ctx context.Context) error {
	return errors.Join(
		e.proxy.Shutdown(ctx), // streams end, calls are answered; the server alone would wait for streams
		e.server.Shutdown(ctx),
		e.sessions.Close(),
		e.client.Close(),
	)
}

// bothEras is what a server of go-sdk serves on one URL: sessions to the clients that know sessions, and the protocol
// of 2026-07-28, which has none, to all others.
func bothEras(server *mcp.Server) http.Handler {
	get := func(*http.Request) *mcp.Server { return server }
	modern := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true})
	legacy := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{SessionTimeout: sessionTTL})
	return auth.RequireBearerToken(verify, nil)(mcphttp.Era(modern, legacy))
}
