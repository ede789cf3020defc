// Package session keeps session state for servers and proxies that run as several replicas: of the Model Context
// Protocol, or of any other protocol with sessions over HTTP.
//
// [Storage] is the interface. [MemoryStorage] is for a single replica. [RedisStorage] is shared by all replicas.
// [RoutingStorage] is a bounded local tier in front of the shared storage, so that a request for a session with a local
// copy costs no round trip:
//
//	remote := session.NewRedisStorage(client, 30*time.Minute)
//	sessions := session.NewRoutingStorage(remote, 10_000)
//	defer sessions.Close()
//
// # Promises
//
// S is [WithMaxStaleness], R is [WithRefreshAfter], TTL is the idle time of a session: the remote's, or that of
// [Session.WithIdleTimeout].
//
//   - P1, hits are free: a Load that is served locally does no I/O, takes no lock, and allocates nothing. One per R and
//     session is an exception: it queues a use for the remote.
//   - P2, staleness is bounded, hard: when a Store or Delete has returned at time t, through any replica, no Load that
//     starts after t+S, on any replica, returns older state. That includes replicas that are cut off from the remote or
//     were paused. Changes without this library (redis-cli DEL, eviction, FLUSHALL) are noticed within R on a busy
//     session. A LoadFresh that starts after t returns no older state at all.
//   - P3, a replica reads its own writes: after Store, Delete, Revoke or DeleteExpired has returned nil, loads on that
//     replica see it. ([RoutingStorage.Revoke] names an exception.)
//   - P4, nothing deleted comes back: storing a session that came from the storage succeeds only if the stored revision
//     is still the one it came from. Otherwise it is [ErrNotFound] or [ErrConflict].
//   - P5, active sessions live, idle ones die: a session that is loaded at least once every TTL-R, on any replica, does
//     not expire, as long as the remote can be told of it before its TTL ends. (R is a quarter of a session's own idle
//     time at most.) A session that is not loaded for a TTL is gone, everywhere: the remote is told when it was used,
//     however late. (A remote that is no [Revalidator] keeps it for a TTL from when that was told.) One with
//     [NoIdleTimeout] needs no use, and lives until its ExpiresAt. Hits never make a local copy any fresher.
//   - P6, absolute lifetime: a session is never served at or after its [Session.ExpiresAt], which may also be one that
//     the storage has given it, see [WithMaxLifetime].
//   - P7, memory is bounded by the number of local entries and of calls in flight; these are bounded by
//     [WithLoadConcurrency], [WithRefreshConcurrency] and the callers that wait.
//   - P8, an outage is an explicit outcome: while the remote is unreachable, local answers go on for as long as P2
//     allows. Then Load returns [ErrUnavailable], never [ErrNotFound]: the first loads after they have waited for the
//     remote in vain, further ones at once, until a probe finds the remote back. Only with [WithStaleIfError] it
//     returns the last known state.
//   - P9, no phantom writes, and no riddles: a session is served locally only after the remote has acknowledged it.
//     When a write fails, the local copy is dropped, as its outcome may be unknown. [RedisStorage] settles a write
//     whose reply is lost by one repetition: a Store of a session with a revision takes effect at most once; a Create,
//     a Replace, and a Store without a revision, never after it has returned success.
//   - P10, a fence is final: when [RoutingStorage.Fence] has returned nil, every change that was acknowledged before it
//     was called is seen by every load that starts afterwards, on every replica. All replicas need [WithFencing].
//
// A remote that is a [Watcher] makes P2 cheap: it reports changes as they happen, and proves at intervals that no
// report is missing. While the proofs come, local copies stay valid. Without them, a copy is served for S after it was
// fetched. The file docs/guarantees.md in the repository argues why each promise follows.
//
// The promises assume that the remote keeps the writes that it has acknowledged. A failover of Redis may lose the last
// ones, see [WithMinReplicas].
//
// Times are measured with the monotonic clock. It goes on while a process is stopped, but on most systems not while the
// whole machine is suspended.
//
// # What is built on it
//
// Package mcphttp serves the Model Context Protocol: a proxy, and the sessions of servers made with any library.
// Package live keeps a connection or another object for each session. Package handle keeps what tools refer to, and
// package requeststate what a call knew before it asked its user. The modules below integrations are for SDKs, for
// web sessions of scs, and for metrics. The repository has pages by task in docs/README.md.
package session
