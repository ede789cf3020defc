// Package sessionotel exports metrics and traces of session storages with OpenTelemetry.
//
//	hook, err := sessionotel.RemoteHook(nil, nil)
//	...
//	sessions := session.NewRoutingStorage(remote, 10_000, session.WithRemoteHook(hook))
//	registration, err := sessionotel.Observe(nil, sessions)
//
// # Metrics of the storage
//
// [Observe] exports what [session.Stats] counts, under "sessionstore.": there is no convention for caches. The number
// of loads has an attribute "result" (hit, miss, absent), so that the hit rate is one division. "sessionstore.failures"
// has "operation" (load, write, refresh) and "error.type" (not_found, unavailable, corrupt, conflict, limit, canceled,
// other), "sessionstore.mode" has "mode", of which exactly one is 1. docs/monitoring has a table of all, a dashboard
// and alerts.
//
// # Calls of the remote
//
// [RemoteHook] makes a span of each call of the remote, such as "sessionstore load", and measures
// "db.client.operation.duration", in seconds. Both have "db.system.name", "db.operation.name" and, after an error,
// "error.type". A load that several callers share is part of the first one's trace. Calls in the background begin
// traces of their own.
//
// Beneath these spans, instrumentation of the client shows the commands. With redisotel use WithDBStatement(false):
// commands have session ids as arguments.
//
// No metric and no span has a session id, a principal, or anything else of a session.
package sessionotel
