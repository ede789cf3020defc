// Package mcphttp serves the Model Context Protocol over HTTP from several replicas: both eras of the protocol on one
// URL, sessions that every replica knows, and answers that end when their session does. It needs no MCP library, and
// works with the servers of any.
//
// A server of both eras, go-sdk's for example, which needs two handlers for them:
//
//	sessions := session.NewRoutingStorage(session.NewRedisStorage(client, 30*time.Minute), 10_000)
//	legacy := mcphttp.NewSessions(sessions, mcp.NewStreamableHTTPHandler(getServer, nil), mcphttp.WithOwner(userOf))
//	modern := mcp.NewStreamableHTTPHandler(getServer, &mcp.StreamableHTTPOptions{Stateless: true})
//	http.Handle("/mcp", authenticated(mcphttp.Era(modern, legacy)))
//
// mcp-go's one handler serves both eras, so mcphttp.NewSessions is all that it needs.
//
// A proxy in front of any number of servers, of which each replica is like this:
//
//	proxy := mcphttp.NewProxy(sessions, backends, mcphttp.WithOwner(userOf))
//	http.Handle("/mcp", authenticated(proxy))
//
// [WithOwner] keeps users apart, but is no authentication: in front of these handlers there has to be one, that of
// go-sdk's auth package for example.
//
// When a replica stops, Shutdown comes before that of [http.Server], which would wait for streams that do not end:
//
//	_ = proxy.Shutdown(ctx) // or legacy.Shutdown
//	_ = server.Shutdown(ctx)
//	_ = sessions.Close()
//
// # Where to begin reading
//
//  1. [Era] and [Modern]: two protocols on one URL, and what a client gets of the one that is not served.
//  2. [Sessions]: the life of a session, from the answer that begins it to the DELETE.
//  3. [Proxy]: what a request is routed by, and what becomes of the sessions of a backend that has died.
//  4. [WriteError]: which status a client understands in which way, for handlers of your own.
//
// # What clients make of an answer
//
// On 404 a client gives its session up and begins anew, so that is sent only when the storage itself says that there is
// no such session. An outage and a shutdown are 503 with Retry-After: the session is still there. These answers are
// plain text. An answer that was cut before its header has left gets the status of its cause in the same way.
//
// Session ids and owners appear in no log and no error.
package mcphttp
