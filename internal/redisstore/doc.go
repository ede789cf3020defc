// Package redisstore keeps versioned values in Redis, and publishes an event for every change. It knows neither what a
// value means nor who caches it. It works on Redis 6.2 or later and Valkey: standalone, behind Sentinel, or a Cluster.
//
// # Values
//
// A value is one string under prefix + space + id:
//
//	2 00064a2f3c5b8e10 00064a2f3c5b8d00 9f86d081884c7d65 ... {"id":...
//	| |                |                |                |   +- the data
//	| |                |                |                +- idle time, end, owner, stamp
//	| |                |                +- the token of the write
//	| |                +- the revision that it replaced
//	| +- the revision in 16 hex digits
//	+- the version of this layout
//
// The spaces are not part of it. The header has a fixed width, so that scripts read it with GETRANGE; value.go lists
// its fields. A revision is the larger of the stored one plus 1, and the server's TIME in microseconds. So it grows
// even after a failover to a server whose clock is behind, and a value that was deleted and created again gets no old
// revision. Redis expires values: Get, Put and Unchanged let them live for the idle time in the header, or else the
// store's TTL, but not past the end in the header.
//
// Each operation is a script, and one round trip. The first use of a script on a server takes a second one. A script is
// atomic. One that writes compares the revision, makes sure that this server takes writes, publishes, and writes. It
// publishes first, so that a user without permission to publish changes nothing. No operation gives an answer on a
// server that refuses writes: what a replica has may be old.
//
// # Lost replies
//
// A connection may break after a command was sent. The store then sends the command once more, on a connection that has
// just answered; the client itself repeats nothing, see atMostOnce. A write carries a random token, which its script
// stores with the value and looks for first. So a repetition finds what the first command has written, and writes
// nothing. What the store may conclude, and when a repetition only asks, depends on how the reply was lost: settle.go
// has the rules, and guarantees.md (P9) argues for them. Take is never repeated, because its value has gone with the
// reply.
//
// # Events
//
// These channels carry messages:
//
//	prefix + "!events:" + database  C, the revision in 16 hex digits, and the id of a value that was written; R, the
//	                                revision that is gone (0 if none is known), and the id of a value that was deleted
//	prefix + "!hb:" + random        the heartbeats of one link: their numbers; the markers of fences for it, and answers
//
// On a Cluster there are also shard channels. They carry the same, and their messages are not passed on to all nodes.
// 64 are of the first kind, with a hash tag behind the name. Each link has one of the second kind, with the key of its
// heartbeats as the tag. shard.go has the rule by which a script decides that a shard channel is enough.
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
// Each link sends its heartbeats on a connection of its own: in the client's pool they would wait behind the very loads
// that no proof keeps away. A heartbeat that is late, or refused for a while, costs time only: no event was lost. The
// watch ends when its subscription breaks; when a heartbeat was delivered by another server, or found the master
// demoted, or promoted anew, see link.stays; and when neither a delivered heartbeat nor anything else arrives for 4
// heartbeats.
//
// What changes without a script of this package (redis-cli DEL, expiry, eviction, FLUSHALL) sends no event.
//
// # Ids and keys
//
// Ids come from clients, so no id may reach a key that is not its own. An id has no space. So the last space of a
// value's key ends the prefix: two stores with different prefixes share no key, even if one prefix begins the other.
// The keys of heartbeats, which never exist, are prefix + " !hb " + random. With a {hash tag} in the prefix all of
// these would be in one slot, so they are "!hb " + random then.
//
// With Config.Names, Redis sees other texts in the place of the ids: one in keys, which is the same each time, and one
// in events, which Watch turns back into the id. A text that it cannot turn back may be about any value, so it is a
// Gap.
//
// # Fences
//
// Package fence has the rules. The holders are noted in a hash, prefix + " !holders ": each heartbeat of a holder sets
// a field with its name, and a note that is another one each time. The field "!" is the identity of the hash. On one
// server the heartbeat's script does that. On a Cluster the hash is on one master: the note goes there first, and the
// heartbeats follow its reply. A marker is a message on a link's own channel; the script that publishes it counts the
// receivers on its own server.
//
// # Owners
//
// With Owners, each owner has a sorted set, prefix + " !owner " + a hash, of what stands for the ids of its values in
// keys. owner.go has the rules, and guarantees.md the argument.
//
// # Reading order
//
//   - store.go, put.go: Config and the operations on one value, with scripts/put.lua beside it, and
//     scripts/header.lua in front of it
//   - value.go, lifetime.go: the header, and when a value is gone
//   - names.go: what Redis sees of the ids
//   - settle.go: what happens when a reply is lost
//   - client.go: which clients a store works with
//   - scripts.go: how a script runs, once
//   - replicas.go: writes that wait for replicas
//   - owner.go, revoke.go, limit.go: which values an owner has, how they end together, and how many there may be
//   - revalidate.go, each.go: one question about many values, and one script for many keys
//   - watch.go: Sink, Watch, and the payload of an event
//   - link.go: the subscription to one master, and its heartbeats
//   - shard.go, join.go, scripts/announce.lua: each event once on a Cluster
//   - topology.go: which masters there are
//   - holder.go: holders of leases: the registry, and the messages of fences on a link
//   - fence.go: the questions of a fence
package redisstore
