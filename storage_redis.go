package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/redisstore"
)

// RedisStorage keeps sessions in Redis 6.2 or later, or Valkey: standalone, behind Sentinel, or a Cluster. It is safe
// for concurrent use by any number of processes.
//
// Each session is one string, readable with redis-cli: a header of 121 characters, which begins with a version digit
// and the revision in 16 hex digits, and the encoded session. Redis expires it: each Load and Store lets it live for
// its [Session.IdleTimeout] or else the storage's TTL, but not past its [Session.ExpiresAt], and not for more than 278
// years. Every operation is a script, and one round trip, whatever the session's lifetime. The first use of a script
// on a server needs a second one, and with [WithOwnerIndex] a change of a session with a principal does, too.
//
// The client is made by redis.NewClient, NewFailoverClient, NewFailoverClusterClient, NewClusterClient or
// NewUniversalClient. A client that wraps one of these has a method Unwrap() redis.UniversalClient. Other clients are
// refused, because they cannot keep the promises: a redis.Ring, for one, says "not found" while a shard is away, and
// serves what was deleted meanwhile when it is back. Instrumentation belongs into the client's AddHook.
//
// The client belongs to the caller, who closes it. Its time-outs bound the calls, and contexts do too if the client has
// ContextTimeoutEnabled, which is recommended.
//
// When a reply is lost, the storage repeats the command once, on a connection that has just answered, within the
// caller's context. So a connection that was closed while it was idle fails no call but a Take. A write carries a
// random token, by which the repetition finds out whether the first attempt was executed:
//
//   - A Store of a session with a revision takes effect at most once, whatever is lost or comes late.
//   - A Store of a session without one, a Create, and a Replace may take effect twice within the one call, if others
//     change or delete the session between the two attempts: what they did is then undone. After the call has returned
//     success, neither attempt takes effect any more. After a time-out, which leaves the first attempt on its way, the
//     storage therefore only asks whether that was executed.
//   - A Delete whose first attempt is still on its way may delete, when that arrives, a session that was created anew
//     under the same id. Ids that are never used again, as [NewID] makes them, have no such successor.
//   - A Take is never repeated: its session has gone with the reply.
//
// [ErrUnavailable] remains for what this cannot settle: the second reply is lost too, the server refuses the
// repetition, or others have changed the session meanwhile so that nothing shows what became of the write.
type RedisStorage struct {
	store       *redisstore.Store
	ttl         time.Duration
	codec       Codec
	maxSize     int
	maxLifetime time.Duration
	owners      bool // there is an index of each owner's sessions
	keeper      keeper
}

// NewRedisStorage returns a storage on the caller's client. A session without an idle time-out of its own is gone
// after ttl without a Load or Store. Redis need not be there yet. It panics when client is nil or of a kind that
// [RedisStorage] refuses, or ttl is less than a millisecond, Redis' unit.
func NewRedisStorage(client redis.UniversalClient, ttl time.Duration, opts ...RedisOption) *RedisStorage {
	if ttl < time.Millisecond {
		panic(fmt.Sprintf("session: NewRedisStorage: ttl %v: must be at least 1ms", ttl))
	}
	o := redisOptions{storageOptions: storageOptions{maxSize: defaultMaxSize}, prefix: defaultPrefix, codec: JSONCodec{}}
	for _, opt := range opts {
		opt.applyRedis(&o)
	}
	owners := o.ownerIndex || o.ownerLimit > 0
	config := redisstore.Config{
		Client: client, Prefix: o.prefix, TTL: ttl,
		MinReplicas: o.minReplicas, ReplicaTimeout: o.replicaTimeout,
		Owners: owners, OwnerLimit: o.ownerLimit, EndIdlest: o.overLimit == EndIdlest,
		ValidID: func(id string) bool { return ValidateID(id) == nil },
	}
	if o.hashedIDs {
		config.Names, config.IDOf = newHashedNames(o.codec), idOf(o.codec)
	}
	store, err := redisstore.New(config)
	if err != nil {
		panic("session: NewRedisStorage: " + err.Error())
	}
	return &RedisStorage{
		store: store, ttl: ttl, codec: o.codec, maxSize: o.maxSize, maxLifetime: o.maxLifetime, owners: owners,
	}
}

// TTL returns how long a session without an idle time-out of its own lives without being used.
func (rs *RedisStorage) TTL() time.Duration { return rs.ttl }

// MaxLifetime implements [Limiter].
func (rs *RedisStorage) MaxLifetime() time.Duration { return rs.maxLifetime }

// Load implements [Storage].
func (rs *RedisStorage) Load(ctx context.Context, id string) (*Session, error) {
	return rs.read(ctx, "load", id, rs.store.Get)
}

// Peek implements [Peeker]. Like every operation it fails on a server that takes no writes, as a master that was
// demoted does: what such a server has may be old. On Redis 6.2 a session may live a millisecond longer by it.
func (rs *RedisStorage) Peek(ctx context.Context, id string) (*Session, error) {
	return rs.read(ctx, "peek", id, rs.store.Peek)
}

func (rs *RedisStorage) read(
	ctx context.Context, op, id string, get func(context.Context, string) (redisstore.Value, error),
) (*Session, error) {
	if err := checkCall(ctx, op, id); err != nil {
		return nil, err
	}
	v, err := get(ctx, id)
	if err != nil {
		return nil, rs.failure(ctx, op, err)
	}
	s, err := decodeFor(rs.codec, id, v.Data, v.Revision)
	if err != nil {
		return nil, opErrBecause(op, ErrCorrupt, err)
	}
	if s.Expired(time.Now()) {
		return nil, opErr(op, ErrNotFound)
	}
	return s, nil
}

// Store implements [Storage].
func (rs *RedisStorage) Store(ctx context.Context, s *Session) error {
	condition := redisstore.Always
	if s != nil {
		if base := s.Revision(); base != 0 {
			condition = redisstore.IfRevision(base)
		}
	}
	return rs.write(ctx, "store", s, condition)
}

// Create implements [Creator].
func (rs *RedisStorage) Create(ctx context.Context, s *Session) error {
	return rs.write(ctx, "create", s, redisstore.IfAbsent)
}

// Replace implements [Replacer] with one round trip, like Create.
func (rs *RedisStorage) Replace(ctx context.Context, s *Session) error {
	return rs.write(ctx, "replace", s, redisstore.IfPresent)
}

func (rs *RedisStorage) write(ctx context.Context, op string, s *Session, condition redisstore.Condition) error {
	if err := checkSession(ctx, op, s); err != nil {
		return err
	}
	stored, isNew := s.limited(rs.maxLifetime), !condition.NamesRevision()
	if err := checkLifetime(op, stored, isNew); err != nil {
		return err
	}
	data, err := rs.codec.Encode(stored)
	if err != nil {
		return opErrBecause(op, ErrEncode, err)
	}
	if len(data) > rs.maxSize {
		return tooLarge(op, len(data), rs.maxSize)
	}
	revision, err := rs.store.Put(ctx, s.id, redisstore.Write{
		Data: data, Condition: condition, Owner: stored.principal,
		Lifetime: redisstore.Lifetime{Idle: stored.idleTimeout, End: stored.expiresAt},
	})
	switch {
	case errors.Is(err, redisstore.ErrEnded) && isNew: // by the server's clock
		return opErrBecause(op, ErrLifetime, err)
	case err != nil:
		return rs.failure(ctx, op, err)
	}
	Stamp(s, revision)
	return nil
}

// Take implements [Taker].
func (rs *RedisStorage) Take(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "take", id); err != nil {
		return nil, err
	}
	v, undo, err := rs.store.Take(ctx, id)
	if err != nil {
		return nil, rs.failure(ctx, "take", err)
	}
	s, err := decodeFor(rs.codec, id, v.Data, v.Revision)
	if err != nil {
		undo() // it is not ours to destroy
		return nil, opErrBecause("take", ErrCorrupt, err)
	}
	if s.Expired(time.Now()) {
		return nil, opErr("take", ErrNotFound)
	}
	return s, nil
}

// Delete implements [Storage].
func (rs *RedisStorage) Delete(ctx context.Context, id string) error {
	if err := checkCall(ctx, "delete", id); err != nil {
		return err
	}
	if err := rs.store.Delete(ctx, id); err != nil {
		return rs.failure(ctx, "delete", err)
	}
	return nil
}

// DeleteExpired implements [Storage]. It does nothing: Redis expires sessions by itself.
func (rs *RedisStorage) DeleteExpired(ctx context.Context, _ time.Time) error {
	if err := ctx.Err(); err != nil {
		return opErr("delete expired", err)
	}
	return nil
}

// Revalidate implements [Revalidator] with one command, whatever the number of sessions. On a Cluster it is one command
// for each slot, and those of one master go in one round trip. Where the server refuses scripts with several keys, it
// is one for each session, in one round trip. After an error nothing is known of any session, though some may have been
// renewed. A value that was changed past this package and kept its revision counts as unchanged.
func (rs *RedisStorage) Revalidate(ctx context.Context, uses []Use) (unchanged []bool, err error) {
	const op = "revalidate"
	asked := make([]redisstore.Use, len(uses))
	for i, u := range uses {
		if err := ValidateID(u.ID); err != nil {
			return nil, opErr(op, err)
		}
		asked[i] = redisstore.Use{ID: u.ID, Revision: u.Revision, Idle: time.Since(u.At)}
	}
	if err := ctx.Err(); err != nil {
		return nil, opErr(op, err)
	}
	unchanged, err = rs.store.Unchanged(ctx, asked)
	if err != nil {
		return nil, rs.failure(ctx, op, err)
	}
	return unchanged, nil
}

// Broadcasts returns how many events of a Cluster have reached the watches of this storage by a broadcast to all nodes,
// once from each master. It is 0 elsewhere. [Stats] has it as Broadcast.
func (rs *RedisStorage) Broadcasts() uint64 { return rs.store.Broadcasts() }

// Watch implements [Watcher] with one Pub/Sub connection, on a Cluster one to each master. Beside each it has a
// connection for heartbeats, of a client that it makes from the options of yours and closes in the end: in the pool of
// your client the heartbeats would wait behind loads. The hooks and the limiter of your client do not see them.
//
// A heartbeat that is late, or refused for a while, only delays the next [Alive]. Watch ends when events may be
// missing.
//
// Why one subscription to each master, although a Cluster forwards messages between its nodes: it does so without
// acknowledgement. A link between two nodes that breaks for a moment loses messages without a notice. Each master sends
// its events to all watches itself, by SPUBLISH, so each event comes once. While a watch is on a master that does not
// get them that way, the master broadcasts them; so it does until the watch is 8 heartbeats old.
func (rs *RedisStorage) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	checkHeartbeat(heartbeat)
	return rs.failure(ctx, "watch", rs.store.Watch(ctx, heartbeat, eventSink(fn)))
}

// whyLate is for the log of a RoutingStorage.
func (rs *RedisStorage) whyLate() error { return rs.store.WhyLate() }

// Hold implements [Fencer]. Heartbeats then note the holder in a hash under the prefix, " !holders ". Fences and the
// answers to them use the connections for heartbeats.
func (rs *RedisStorage) Hold(maxStaleness time.Duration) LeaseHolder {
	return &redisHolder{rs, rs.store.Hold(maxStaleness)}
}

type redisHolder struct {
	storage *RedisStorage
	holder  *redisstore.Holder
}

func (h *redisHolder) Watch(ctx context.Context, heartbeat time.Duration, fn func(Event)) error {
	checkHeartbeat(heartbeat)
	return h.storage.failure(ctx, "watch", h.holder.Watch(ctx, heartbeat, eventSink(fn)))
}

func (h *redisHolder) Fence(ctx context.Context) error {
	if err := h.holder.Fence(ctx); err != nil {
		return opErr("fence", err)
	}
	return nil
}

func (h *redisHolder) Leave(ctx context.Context) error {
	if err := h.holder.Leave(ctx); err != nil {
		return h.storage.failure(ctx, "leave", err)
	}
	return nil
}

// eventSink calls a function with what the store reports.
type eventSink func(Event)

func (fn eventSink) Changed(id string, revision uint64) { fn(Changed{ID: id, Revision: revision}) }
func (fn eventSink) Removed(id string, revision uint64) { fn(Removed{ID: id, Revision: revision}) }
func (fn eventSink) Gap()                               { fn(Gap{}) }
func (fn eventSink) Alive(asOf time.Time)               { fn(Alive{AsOf: asOf}) }

// failure translates an error of the store. Every error that is not an answer about this session is an outage.
func (rs *RedisStorage) failure(ctx context.Context, op string, err error) error {
	switch {
	case errors.Is(err, redisstore.ErrMissing), errors.Is(err, redisstore.ErrEnded):
		return opErr(op, ErrNotFound)
	case errors.Is(err, redisstore.ErrExists):
		return opErr(op, ErrExists)
	case errors.Is(err, redisstore.ErrConflict):
		return opErr(op, ErrConflict)
	case errors.Is(err, redisstore.ErrCorrupt):
		return opErrBecause(op, ErrCorrupt, err)
	case errors.Is(err, redisstore.ErrTooMany):
		return opErr(op, ErrTooMany)
	case errors.Is(ctx.Err(), context.Canceled):
		return opErrBecause(op, context.Canceled, err)
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = errors.Join(ended, err)
	}
	return opErrBecause(op, ErrUnavailable, err)
}
