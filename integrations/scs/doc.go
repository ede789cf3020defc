// Package scsstore is a store for the sessions of web apps that use github.com/alexedwards/scs: on any replica, without
// a round trip for a request that changes nothing, also with an idle time-out.
//
//	import scsstore "github.com/seed34611480/session/integrations/scs"
//
//	sessions := scs.New() // of alexedwards/scs
//	sessions.IdleTimeout = 20 * time.Minute
//	sessions.Store = scsstore.New(routing)
//
// # How long a session lives
//
// As long as scs says: until its Deadline, and with an IdleTimeout only until that time after its last request. With an
// IdleTimeout, scs commits the session with each request, to move its end. This store writes only what has changed.
// That a request has found the session is what keeps it alive: IdleTimeout long, counted from there, to the
// millisecond, and not past the Deadline. With a [session.RoutingStorage] such a request normally sends nothing to
// Redis: it tells of the use later, with its time, for many sessions at once. If the replica crashes before, the
// session ends earlier, by a quarter of IdleTimeout or a minute at most, whichever is less.
//
// # A session that has ended
//
// stays ended. In other stores, a request that has begun before a log-out, and commits after it, brings the session
// back, and a request that changes nothing takes back what others have changed since it began. Here the former commits
// nothing, and is no error: its session is over. The latter has nothing to commit. Of two requests that change a
// session at the same time, the last one wins, as scs has it.
//
// The store knows which requests have found a session by their contexts, which must end with them, as those of net/http
// do. For a context that never ends, or has an end of its own, as that of context.WithTimeout, Commit cannot tell a
// session that has ended from one that is new, and stores it: call the manager with the context of the request.
//
// Replicas with a [session.RoutingStorage] learn of a log-out within milliseconds, and after MaxStaleness if events are
// lost. Where no replica may serve the session once the log-out was answered: call Fence of the RoutingStorage after
// Destroy.
//
// # Outages
//
// While the storage is unavailable, Find and Commit fail with [session.ErrUnavailable], and scs calls its ErrorFunc,
// for which [session.HTTPStatus] has the status 503. A session is never taken for a new one, so no one is logged out.
//
// # What is at rest
//
// A token is the id of a session, with "scs:" in front. Readers of Redis can use it, unless the manager has
// HashTokenInStore, or the storage [session.WithHashedIDs].
package scsstore
