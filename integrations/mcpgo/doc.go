// Package mcpgo serves the sessions of a [server.StreamableHTTPServer] of mcp-go from any replica: they are in a
// [session.Storage], and in no replica's memory.
//
//	streamable := server.NewStreamableHTTPServer(mcpServer,
//		server.WithSessionIdManagerResolver(mcpgo.Resolver()),
//		server.WithSessionIdleTTL(time.Hour)) // frees memory
//	h := mcpgo.Handler(sessions, streamable, mcphttp.WithOwner(owner))
//	http.Handle("/mcp", h)
//
// It needs both halves, because mcp-go's hook for session ids is not enough. A manager that asks a storage makes 404 of
// every error, so that an outage ends all sessions; it is not asked about GET; when it cannot store a session, clients
// go on without one; and when a replica shuts down, or has not seen a session for a while, mcp-go has it end the
// session for all replicas. So the [Handler], which is a [mcphttp.Sessions], does what has to do with the storage, and
// the [Resolver] only makes ids:
//
//   - An outage of the storage is 503 with Retry-After, and clients keep their sessions.
//   - An initialize whose session cannot be stored is 503.
//   - A GET stream is for a session that exists. It keeps its session alive, as does a call that takes longer than a
//     second, and ends when the session ends on any replica.
//   - Shutdown, CloseSessions and the sweeper of WithSessionIdleTTL only free the memory of their replica: a rolling
//     restart ends no session.
//   - With [mcphttp.WithOwner], a session of another user is 404, like one that does not exist.
//   - An initialize that is answered with a stream has its session id, too. mcp-go forgets it when a hook has sent a
//     notification.
//
// Requests of the 2026-07-28 protocol have no session, and pass.
//
// # What stays on one replica
//
// mcp-go keeps the tools, resources, log level and client info of a session, the streams of an event store, and the
// requests that it has sent to a client (sampling, elicitation, roots) in the memory of one replica. A client's answer
// to such a request that reaches another replica is 404 in mcp-go, which would end the session; here it is 400, and the
// call that waits for it fails. Servers that ask their clients need a balancer, or a [mcphttp.Proxy], that keeps a
// session on one replica; for the others any balancer will do.
//
// A session that has begun on a replica occupies memory there until that replica gets the DELETE. Set
// WithSessionIdleTTL, which frees it.
//
// # Around it
//
// To shut down: that of the Handler, then that of the [net/http.Server], then that of the StreamableHTTPServer, and
// close the storage. CORS middleware belongs in front of the Handler, which does not pass OPTIONS on, instead of
// WithStreamableHTTPCORS. Mount server.NewProtectedResourceMetadataHandler at a path of its own.
//
// mcp-go's client sends its DELETE without the headers of WithHTTPHeaders and WithHTTPHeaderFunc. If the owner comes
// from one of them, that is 401, and the session ends when it was idle for long enough; a token that the client's
// http.Client adds is there.
//
// mcp-go logs session ids: when its sweeper runs, and when an answer of a client cannot be delivered. Where a log is no
// place for credentials, give it a logger that discards them, with WithStreamableHTTPLogger.
package mcpgo
