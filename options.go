package session

import (
	"cmp"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"time"
)

// The options of all storages, with their defaults. An option checks its argument when it is made.

// --- Storages that keep sessions themselves ---

// StorageOption configures a [MemoryStorage] or a [RedisStorage].
type StorageOption interface {
	MemoryOption
	RedisOption
}

// storageOptions are the fields that both storages have.
type storageOptions struct {
	maxSize     int
	maxLifetime time.Duration
	ownerLimit  int         // 0: none
	overLimit   OwnerPolicy // counts with an ownerLimit
}

type storageOption func(o *storageOptions)

func (set storageOption) applyMemory(o *memoryOptions) { set(&o.storageOptions) }
func (set storageOption) applyRedis(o *redisOptions)   { set(&o.storageOptions) }

const defaultMaxSize = 1 << 20

// WithMaxSize limits the size of one session, in bytes: larger ones are refused with [ErrTooLarge]. RedisStorage counts
// the encoded session, MemoryStorage the bytes that the session holds. The error tells the size and the limit. 0 means
// the default, 1 MiB. It panics when bytes is negative.
func WithMaxSize(bytes int) StorageOption {
	bytes = orDefault("WithMaxSize", bytes, defaultMaxSize)
	return storageOption(func(o *storageOptions) { o.maxSize = bytes })
}

// WithMaxLifetime sets the end of sessions that have none: a session that is stored without an ExpiresAt gets its
// CreatedAt plus d, or d from now if it says that it was created in the future, or does not say when. Loading it
// returns it with that end; the caller's own session stays as it is. An ExpiresAt that the session has counts instead,
// also a later one. 0 means none, the default. It panics when d is negative, or less than a millisecond.
//
// All replicas that share a Redis should have the same: it is the storage that stores a session which sets its end. One
// that was stored without this option can be loaded as before. When it is stored again it gets its end, and is
// [ErrNotFound] if that has passed.
func WithMaxLifetime(d time.Duration) StorageOption {
	d = orDefault("WithMaxLifetime", d, 0)
	if d > 0 && d < time.Millisecond {
		panic(fmt.Sprintf("session: WithMaxLifetime(%v): must be at least 1ms", d))
	}
	return storageOption(func(o *storageOptions) { o.maxLifetime = d })
}

// OwnerPolicy says what happens to the session of an owner that would be one too many, see [WithOwnerLimit].
type OwnerPolicy int

const (
	// RefuseNew refuses to store the session, with [ErrTooMany].
	RefuseNew OwnerPolicy = iota
	// EndIdlest stores the session, and deletes that session of the owner which was not used for longest.
	EndIdlest
)

// WithOwnerLimit limits how many sessions each principal may have at a time. Storing a session under a new id, or
// giving a session to another principal, is subject to it; sessions without a principal, and changes of others, are
// not. By default there is no limit. For RedisStorage it implies [WithOwnerIndex]. It panics when n is not positive, or
// over is none of the constants.
//
// RedisStorage stores a new session, counts, and undoes what is too much. Of concurrent logins it may refuse more than
// it has to, also with EndIdlest. One too many stays, until the next login, if the process ends between the two, or if
// sessions are given to the principal by concurrent calls. Which session was not used for longest it takes from their
// TTLs: a use that a [RoutingStorage] has answered locally counts once it was told of ([WithRefreshAfter]), and of a
// session with [NoIdleTimeout], or shortly before its ExpiresAt, the last Store may be all that is known. A local copy
// of a session that was ended may be served for MaxStaleness.
func WithOwnerLimit(n int, over OwnerPolicy) StorageOption {
	if n <= 0 || over != RefuseNew && over != EndIdlest {
		panic(fmt.Sprintf("session: WithOwnerLimit(%d, %d): needs n > 0, and RefuseNew or EndIdlest", n, over))
	}
	return storageOption(func(o *storageOptions) { o.ownerLimit, o.overLimit = n, over })
}

// --- MemoryStorage ---

// MemoryOption configures a [MemoryStorage].
type MemoryOption interface{ applyMemory(o *memoryOptions) }

type memoryOptions struct{ storageOptions }

// --- RedisStorage ---

// RedisOption configures a [RedisStorage].
type RedisOption interface{ applyRedis(o *redisOptions) }

type redisOptions struct {
	storageOptions

	prefix         string
	codec          Codec
	ownerIndex     bool
	hashedIDs      bool
	minReplicas    int
	replicaTimeout time.Duration
}

const defaultPrefix = "session:"

type redisOption func(o *redisOptions)

func (set redisOption) applyRedis(o *redisOptions) { set(o) }

// WithKeyPrefix sets what the keys of sessions, and the names of the library's channels, begin with. The default is
// "session:". Keys are the prefix, a space, and the id. No id has a space, so storages with different prefixes share no
// key, even if one prefix begins the other. With a {hash tag} all sessions are on one master of a Cluster, and with any
// brace each change event is broadcast to all its nodes, see docs/operations.md.
func WithKeyPrefix(prefix string) RedisOption {
	return redisOption(func(o *redisOptions) { o.prefix = prefix })
}

// WithCodec sets how sessions are encoded. The default is [JSONCodec]. It panics when codec is nil.
func WithCodec(codec Codec) RedisOption {
	if isNil(codec) {
		panic("session: WithCodec: the codec is nil")
	}
	return redisOption(func(o *redisOptions) { o.codec = codec })
}

// WithOwnerIndex makes [Revoker] and [Lister] work: RedisStorage keeps an index of the sessions of each principal. It
// is off by default, as each store of a session with a principal costs a little more. All replicas need it.
func WithOwnerIndex() RedisOption {
	return redisOption(func(o *redisOptions) { o.ownerIndex = true })
}

// WithHashedIDs keeps session ids and principals out of everything that Redis sees. The keys of sessions, and the owner
// index, have the SHA-256 of an id in its place, in hex; a principal is part of the sealed session, and the first half
// of its SHA-256 names its index. Events carry the id sealed. So a dump, a replica, MONITOR, the slow log, or a trace
// of the client's commands has nothing with which a session can be used. A local hit does not compute a hash.
//
// It needs a [SealedCodec], because values have the ids inside: otherwise NewRedisStorage panics, and also if that
// codec has [WritePlain]. Its [KeyRing] seals the events, too. A replica that cannot open an event, because the key is
// not in its ring yet, takes it for a gap: it stays right, but loads all its sessions anew. All replicas need this
// option; to begin with it, or to end, is to begin with a new key prefix.
//
// An id must not be guessable, as one of [NewID] is not. Whether there are sessions of a principal that is known or
// guessed, the hash of it shows.
func WithHashedIDs() RedisOption {
	return redisOption(func(o *redisOptions) { o.hashedIDs = true })
}

// WithMinReplicas makes writes wait until at least n replicas have them, for up to the timeout, in the same round trip
// (WAIT). Otherwise they fail with [ErrUnavailable], and it is unknown whether they will last.
//
// By default a write is acknowledged when the master has it, and a failover may lose the last ones: deleted sessions
// can reappear. With n equal to the number of replicas that may be promoted, none is lost. The price is the
// time that replication takes, and that writes fail while too few replicas are there, or while their slot moves in a
// Cluster. It does not keep a master that was cut off from answering loads: that is for min-replicas-to-write, on the
// server.
//
// 0 turns it off, the default. It panics when n is negative, or n is positive and the timeout is less than a
// millisecond.
func WithMinReplicas(n int, timeout time.Duration) RedisOption {
	if n < 0 || n > 0 && timeout < time.Millisecond {
		panic(fmt.Sprintf("session: WithMinReplicas(%d, %v): needs n >= 0 and a timeout of at least 1ms", n, timeout))
	}
	return redisOption(func(o *redisOptions) { o.minReplicas, o.replicaTimeout = n, timeout })
}

// --- RoutingStorage ---

// RoutingOption configures a [RoutingStorage].
type RoutingOption interface{ applyRouting(o *routingOptions) }

type routingOption func(o *routingOptions)

func (set routingOption) applyRouting(o *routingOptions) { set(o) }

type routingOptions struct {
	maxStaleness, refreshAfter, loadTimeout, staleIfError time.Duration
	loadConcurrency, refreshConcurrency                   int
	fencing                                               bool
	maxLocalBytes                                         int64
	rememberedMisses                                      int
	logger                                                *slog.Logger
	hook                                                  RemoteHook
}

func newRoutingOptions(opts []RoutingOption) routingOptions {
	o := routingOptions{
		maxStaleness: defaultMaxStaleness, loadTimeout: defaultLoadTimeout,
		loadConcurrency: defaultLoadConcurrency(), refreshConcurrency: defaultRefreshConcurrency,
		logger: slog.Default(),
	}
	for _, opt := range opts {
		opt.applyRouting(&o)
	}
	return o
}

const (
	defaultMaxStaleness       = 2 * time.Second
	minMaxStaleness           = time.Millisecond
	defaultRefreshAfter       = time.Minute
	defaultLoadTimeout        = 2 * time.Second
	defaultRefreshConcurrency = 16
)

// WithMaxStaleness sets the bound on stale reads: when a Store or Delete has returned, through any replica, no load
// that starts this much later returns older state. 0 means the default, 2 s. It panics when d is negative, or
// less than a millisecond.
func WithMaxStaleness(d time.Duration) RoutingOption {
	d = orDefault("WithMaxStaleness", d, defaultMaxStaleness)
	if d < minMaxStaleness {
		panic(fmt.Sprintf("session: WithMaxStaleness(%v): must be at least %v, no proof comes that fast", d, minMaxStaleness))
	}
	return routingOption(func(o *routingOptions) { o.maxStaleness = d })
}

// WithRefreshAfter sets how old a local copy gets before a hit renews it in the background, which also keeps the
// session alive in the remote. 0 means the default: an eighth of the remote's TTL, and at most a minute. It is never
// more than a quarter of the TTL, nor of the session's own idle time-out. While local copies are bounded by their age,
// they are renewed after half of MaxStaleness if that is sooner. It panics when d is negative.
//
// If the remote is a [Revalidator], copies that are due at about the same time are renewed together, some of them a
// little early: by up to a 64th of d, or a quarter of MaxStaleness if that is less.
func WithRefreshAfter(d time.Duration) RoutingOption {
	d = orDefault("WithRefreshAfter", d, 0)
	return routingOption(func(o *routingOptions) { o.refreshAfter = d })
}

// WithMaxLocalBytes limits the memory of the local tier, in bytes of the heap, beside its number of sessions: the
// least recently used ones make room. A session counts with all that is kept for it, about 0.2 kB more than what it
// holds; the tier's index counts, too. A session that would take more than an eighth of the limit is loaded and stored
// like any other, but not kept: each load of it asks the remote, and Stats.TooLarge counts that. 0 means no limit, the
// default. It panics when bytes is negative.
func WithMaxLocalBytes(bytes int64) RoutingOption {
	bytes = orDefault("WithMaxLocalBytes", bytes, 0)
	return routingOption(func(o *routingOptions) { o.maxLocalBytes = bytes })
}

// WithRememberedMisses remembers for up to n ids that the remote has no session, so that repeated loads of unknown ids
// do not reach it: each of them costs at most one round trip per MaxStaleness, as long as no more than n are asked for
// in that time; then those that were not asked for longest are forgotten. It is for services whose clients, or whose
// attackers, go on with the ids of sessions that are gone.
//
// What is remembered obeys the same bound as a session: it ends when a session with that id is stored, through any
// replica, and at the latest after the longer of MaxStaleness and RefreshAfter. A session that is put into the remote
// by hand is found after that. [RoutingStorage.LoadFresh] and [RoutingStorage.Peek] do not use it.
//
// It costs hits nothing. A miss, and while something is remembered each change event, costs a SHA-256 of the id. One
// id takes about 0.2 kB, whatever its length, which WithMaxLocalBytes does not count; no session makes room for it. 0
// turns it off, the default. It panics when n is negative.
func WithRememberedMisses(n int) RoutingOption {
	n = orDefault("WithRememberedMisses", n, 0)
	return routingOption(func(o *routingOptions) { o.rememberedMisses = n })
}

// WithLoadTimeout sets how long a load waits for the remote at most, whatever the caller's context allows: the load is
// shared with others, and goes on when a caller gives up. After that it fails with [ErrUnavailable]. 0 means the
// default, 2 s. It panics when d is negative.
func WithLoadTimeout(d time.Duration) RoutingOption {
	d = orDefault("WithLoadTimeout", d, defaultLoadTimeout)
	return routingOption(func(o *routingOptions) { o.loadTimeout = d })
}

// WithLogger sets where it is logged when change events begin to flow and when they end, with the reason; that there
// will be none, if the remote is no [Watcher] or cannot watch as it is set up; and when sessions cannot be renewed in
// the remote for more than a second, those of [KeepAlive] included, and can be again. There is one line for each change
// that lasts. What comes and goes is logged at most once a second, and from the tenth line on once a minute. A panic of
// the remote that was contained is logged with its stack, at most once a minute. Nothing else is logged, and never an
// id. The default, also for nil, is slog.Default().
func WithLogger(logger *slog.Logger) RoutingOption {
	if logger == nil {
		logger = slog.Default()
	}
	return routingOption(func(o *routingOptions) { o.logger = logger })
}

// WithRemoteHook sets a function that is called before each call of the remote, for metrics and traces; see
// [RemoteHook]. It needs no wrapper around the remote, which would have to pass on every capability. The default, also
// for nil, is none.
func WithRemoteHook(hook RemoteHook) RoutingOption {
	return routingOption(func(o *routingOptions) { o.hook = hook })
}

// WithLoadConcurrency sets how many loads may wait for the remote's answer at a time. Further loads wait for their
// turn, for as long as their contexts and [WithLoadTimeout] allow, and then fail with [ErrUnavailable]; a load that no
// caller waits for any more is not sent. 0 means the default: 10 for each processor, as go-redis sizes its pool. With
// a larger pool, or a remote that is far away, set it to the size of the pool. It panics when n is negative.
func WithLoadConcurrency(n int) RoutingOption {
	n = orDefault("WithLoadConcurrency", n, defaultLoadConcurrency())
	return routingOption(func(o *routingOptions) { o.loadConcurrency = n })
}

func defaultLoadConcurrency() int { return 10 * runtime.GOMAXPROCS(0) }

// WithRefreshConcurrency sets how many background calls may tell the remote of uses, and renew local copies, at a time;
// one for many sessions counts as one. Uses beyond it wait. 0 means the default, 16. It panics when n is negative.
func WithRefreshConcurrency(n int) RoutingOption {
	n = orDefault("WithRefreshConcurrency", n, defaultRefreshConcurrency)
	return routingOption(func(o *routingOptions) { o.refreshConcurrency = n })
}

// WithStaleIfError allows a session's last known state to be served while the remote cannot be reached, for up to d
// after it could still be served as fresh. The default, 0, returns [ErrUnavailable] instead. This option gives up the
// bound on stale reads during an outage: a replica that is cut off may serve a session for MaxStaleness + d after it
// was deleted elsewhere. It does not extend the life of a session, and the local copy of a session whose write has
// failed is not served. It panics when d is negative.
func WithStaleIfError(d time.Duration) RoutingOption {
	d = orDefault("WithStaleIfError", d, 0)
	return routingOption(func(o *routingOptions) { o.staleIfError = d })
}

// WithFencing makes [RoutingStorage.Fence] work. All replicas that share the remote must have it, and the same
// MaxStaleness. It is off by default.
//
// Hits cost what they cost without it. But a local session is then served only while change events flow, not for
// MaxStaleness after it was fetched: while the remote cannot be reached, hits end within MaxStaleness after the last
// event proof, and after a reconnection each session is fetched anew once. Each heartbeat also writes a note to the
// remote. NewRoutingStorage panics when the remote is no [Fencer], or with [WithStaleIfError].
func WithFencing() RoutingOption {
	return routingOption(func(o *routingOptions) { o.fencing = true })
}

// orDefault returns what an option is set to: n, or the default if n is 0. It panics when n is negative.
func orDefault[N ~int | ~int64](option string, n, byDefault N) N {
	if n < 0 {
		panic(fmt.Sprintf("session: %s(%v): cannot be negative", option, n))
	}
	return cmp.Or(n, byDefault)
}

// refreshInterval is the refresh-ahead interval for a remote's TTL, which is 0 if it is not known. It is smaller than
// any TTL: a session that is loaded steadily is renewed in the remote three times before it could expire there.
func refreshInterval(asked, ttl time.Duration) time.Duration {
	interval := asked
	if interval == 0 {
		interval = defaultRefreshAfter
		if ttl > 0 {
			interval = min(interval, ttl/8)
		}
	}
	if ttl > 0 {
		interval = min(interval, ttl/4)
	}
	return max(interval, 1)
}

// isNil also finds the nil pointer in a non-nil interface: a client that was declared, and never made.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	value := reflect.ValueOf(v)
	return value.Kind() == reflect.Pointer && value.IsNil()
}
