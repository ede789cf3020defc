// Package redisstore keeps versioned values in Redis, and publishes an event for every change. It knows neither what a
// value means nor who caches it. It works on Redis 6.2 or later and Valkey: standalone, behind Sentinel, or a Cluster.
//
// # Values
//
// A value is one string under prefix + id:
//
//	1 00064a2f3c5b8e10 {"id":...
//	| |                +- the data
//	| +- the revision in 16 hex digits
//	+- the version of this layout
//
// The spaces are not part of it. The header has a fixed width, so that scripts read it with GETRANGE and compare it as
// text. A revision is the larger of the stored one plus 1, and the server's TIME in microseconds. So it grows even
// after a failover to a server whose clock is behind, and a value that was deleted and created again gets no old
// revision. Redis expires values; Get, Put and Unchanged start their TTL anew.
//
// Each operation is one round trip: GETEX to read, a script for everything else. The first use of a script on a server
// takes a second round trip. Every write is a script, and a script is atomic: it compares the revision, publishes, and
// writes. It publishes first, so that a user without permission to publish changes nothing. The client never repeats a
// write, see atMostOnce.
//
// # Events
//
// Two kinds of channels carry messages:
//
//	prefix + "!events"       C, the revision in 16 hex digits, and the id of a value that was written;
//	                         R and the id of a value that was deleted
//	prefix + "!hb:" + random the heartbeats of one link: their numbers
//
// Pub/Sub loses messages without a notice. Watch therefore proves from end to end that no event is missing: each
// master gets a heartbeat through the path that writes take, and publishes it on the channel of the link that sent it.
// Messages of a connection arrive in order, so all earlier events arrive before the heartbeat. Alive reports the time
// that was read before the heartbeat was sent. On a Cluster it is the earliest of the times for all masters, and of the
// time of the last proof that these are all the masters.
//
// A heartbeat is a write (the DEL of a key that never exists), because its arrival proves something about writes only
// on a server that accepts writes. A mere PUBLISH would prove the wrong thing:
//
//  1. A master is cut off from its replicas and the other clients, but this process still reaches it.
//  2. Another server is promoted, and a value is changed there.
//  3. The old master still publishes heartbeats, and the watch reports that no event is missing.
//
// As a write the heartbeat fails in step 3 as soon as the old master is demoted, or, with min-replicas-to-write, as
// soon as it misses its replicas. A heartbeat also counts only if the server that executed it delivered it, see
// link.send.
//
// Changes without a script of this package (redis-cli DEL, expiry, eviction, FLUSHALL) send no event.
//
// # Ids
//
// An id has no space, so that it never names the key of a heartbeat, which is prefix + "!hb " + random.
//
// # Reading order
//
//   - store.go: Config and the operations on one value, with scripts/put.lua beside it
//   - value.go: the header
//   - scripts.go: how a script runs, once
//   - replicas.go: writes that wait for replicas
//   - revalidate.go: one question about many values
//   - watch.go: Sink, Watch, and the payload of an event
//   - link.go: the subscription to one master, and its heartbeats
//   - topology.go: which masters there are
package redisstore
