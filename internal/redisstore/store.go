package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed34611480/session/internal/errs"
)

// The errors that tell about a value or a write. Every other one, the client's own in most cases, means that nothing is
// known.
var (
	ErrMissing        error = errs.SafeError("no value is stored")
	ErrExists         error = errs.SafeError("a value is stored already")
	ErrConflict       error = errs.SafeError("another revision is stored")
	ErrCorrupt        error = errs.SafeError("the stored value has no valid header")
	ErrEnded          error = errs.SafeError("the end of the value is over")
	ErrTooMany        error = errs.SafeError("the owner has too many values")
	ErrTooFewReplicas error = errs.SafeError("too few replicas have the write") // the master has it
)

const errUnexpectedReply = errs.SafeError("unexpected reply")

// Config says where values are stored, and for how long.
type Config struct {
	Client redis.UniversalClient // belongs to the caller, who closes it; see New
	Prefix string                // begins every key and channel; see doc.go
	TTL    time.Duration         // how long a value without an idle time lives without a use; at least a millisecond

	// A write waits until MinReplicas have it, for up to ReplicaTimeout. 0 waits for none.
	MinReplicas    int
	ReplicaTimeout time.Duration

	// With Owners, each owner has an index of its values, see owner.go. All stores of a prefix need it. An owner may have
	// OwnerLimit values; 0 means any number. A Put of a new one beyond that is ErrTooMany, or with EndIdlest deletes the
	// value that was not used for longest.
	Owners     bool
	OwnerLimit int
	EndIdlest  bool

	// ValidID reports whether an id in an event can be one of the caller's. The default accepts every id but "".
	ValidID func(id string) bool

	// Names says what Redis sees of the ids. By default it sees them as they are. With Names, ValidID does not count.
	Names Names

	// IDOf returns the id of a value. With Names and Owners it is needed: an index has only the names in keys.
	IDOf func(data []byte) (id string, ok bool)
}

// Store keeps values of one prefix. It is safe for concurrent use by any number of processes.
type Store struct {
	client         redis.UniversalClient
	base           redis.UniversalClient // the client, or what it wraps
	prefix         string
	ttl            time.Duration
	minReplicas    int
	replicaTimeout time.Duration
	names          Names
	owners         bool
	ownerLimit     int
	endIdlest      bool
	idOf           func(data []byte) (id string, ok bool) // nil if names are the ids
	events         atomic.Pointer[string]                 // see eventsChannel
	shards         bool                                   // see shard.go
	refused        atomic.Bool                            // a server has refused a shard channel
	broadcasts     atomic.Uint64                          // see Broadcasts
	oneKeyOnly     atomic.Bool                            // the server was found to refuse scripts with several keys
	relistAfter    atomic.Int64                           // see relist; nanoseconds since 1970
	failedListings atomic.Uint64                          // see FailedListings
	trouble        atomic.Pointer[error]                  // see WhyLate
}

// New returns a store. Redis need not be there yet. It is an error when the promises cannot be kept through the client.
func New(c Config) (*Store, error) {
	base, err := unwrap(c.Client)
	if err != nil {
		return nil, err
	}
	if c.ValidID == nil {
		c.ValidID = func(id string) bool { return id != "" }
	}
	if c.Names == nil {
		c.Names = plainNames{c.ValidID}
	}
	return &Store{
		client: c.Client, base: base, prefix: c.Prefix, ttl: min(c.TTL, longest),
		minReplicas: c.MinReplicas, replicaTimeout: c.ReplicaTimeout,
		shards: canShard(base, c.Prefix),
		names:  c.Names, owners: c.Owners, ownerLimit: c.OwnerLimit, endIdlest: c.EndIdlest, idOf: c.IDOf,
	}, nil
}

// Get returns a value, and starts its idle time anew, but not past its end. What is no value keeps the TTL that it has.
func (s *Store) Get(ctx context.Context, id string) (Value, error) {
	if _, err := s.eventsChannel(ctx); err != nil { // a client that cannot keep the promises
		return Value{}, err
	}
	key := s.key(id)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return runScript(ctx, s.through(on), loadScript, []string{key}, s.ttl.Milliseconds())
	})
	if err != nil {
		return Value{}, err
	}
	stored, ok := reply.(string)
	if parts, _ := reply.([]any); len(parts) == 1 {
		stored, ok = parts[0].(string)
		if l, owned := listingOf(s.names.Key(id), stored); owned {
			s.relist(ctx, due{listing: l, revision: stored[1 : 1+revisionLength]})
		}
	}
	if !ok {
		return Value{}, noString(reply)
	}
	return parseValue([]byte(stored))
}

// through returns what sends commands on a connection, or through the client if there is none.
func (s *Store) through(on *redis.Conn) processor {
	if on != nil {
		return on
	}
	return s.client
}

// noString is the error for what load.lua and take.lua return when no string is stored.
func noString(reply any) error {
	switch reply {
	case int64(0):
		return ErrMissing
	case int64(1):
		return errAnotherType
	}
	return errUnexpectedReply
}

// undoTimeout bounds the undo of a [Store.Take].
const undoTimeout = 2 * time.Second

// Take deletes a value and returns it. A caller that finds it unreadable calls undo, which puts it back with the TTL
// that it had, unless another value is stored by then. undo is best effort, but it does not end with ctx. After any
// other error than ErrMissing and ErrCorrupt the value may have been deleted.
func (s *Store) Take(ctx context.Context, id string) (v Value, undo func(), err error) {
	events, err := s.eventsChannel(ctx)
	if err != nil {
		return Value{}, nil, err
	}
	reply, err := s.write(ctx, nil, takeScript, s.key(id), events, s.names.Event(id))
	if err != nil {
		return Value{}, nil, err
	}
	parts, _ := reply.([]any)
	if len(parts) == 0 {
		return Value{}, nil, noString(reply)
	}
	stored, ok := parts[0].(string)
	if !ok {
		return Value{}, nil, errUnexpectedReply
	}
	v, err = parseValue([]byte(stored))
	if err != nil {
		return Value{}, nil, err // the script has not deleted it
	}
	if len(parts) != 2 {
		return Value{}, nil, errUnexpectedReply
	}
	l, owned := listingOf(s.names.Key(id), stored)
	if owned {
		s.unlist(ctx, l.owner, l)
	}
	undo = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if owned {
			again, err := s.list(ctx, l)
			if err != nil {
				return // a value that is not listed must not live
			}
			stored = stored[:stampAt] + again.stamp + stored[headerLength:]
		}
		var ttl time.Duration // 0 for none
		if left, _ := parts[1].(int64); left >= 0 {
			ttl = time.Duration(max(left, 1)) * time.Millisecond
		}
		_ = s.client.SetNX(ctx, s.key(id), stored, ttl).Err()
	}
	return v, undo, nil
}

// Delete deletes what is stored, if anything, and announces it in any case. After a time-out the first attempt may
// still arrive when Delete has returned, and then delete what was stored since.
func (s *Store) Delete(ctx context.Context, id string) error {
	events, err := s.eventsChannel(ctx)
	if err != nil {
		return err
	}
	key, name := s.key(id), s.names.Event(id)
	reply, _, err := s.settle(ctx, key, func(on *redis.Conn, _ loss) (any, error) {
		return s.write(ctx, on, deleteScript, key, events, name)
	})
	if err != nil {
		return err
	}
	gone, ok := reply.(string)
	if reply != int64(1) && (!ok || len(gone) != ownerLength+stampLength) {
		return errUnexpectedReply
	}
	s.takeBack(ctx, s.names.Key(id), gone)
	return nil
}

// key returns the key of a value. No id has a space, and no name of one, so its last space ends the prefix: whatever
// the prefixes, no two stores share a key.
func (s *Store) key(id string) string { return s.ownKey(s.names.Key(id)) }

// ownKey returns a key of this prefix.
func (s *Store) ownKey(name string) string { return s.prefix + " " + name }
