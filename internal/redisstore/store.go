package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The errors that tell about a value or a write. An error that wraps [errors.ErrUnsupported] tells what the client
// cannot do. Every other one, the client's own in most cases, means that nothing is known.
var (
	ErrMissing        = errors.New("no value is stored")
	ErrExists         = errors.New("a value is stored already")
	ErrConflict       = errors.New("another revision is stored")
	ErrCorrupt        = errors.New("what is stored is not a value")
	ErrTooFewReplicas = errors.New("too few replicas have the write") // the master has it

	errUnexpectedReply = errors.New("unexpected reply")
)

// Config says where values are stored, and for how long.
type Config struct {
	Client redis.UniversalClient // belongs to the caller, who closes it
	Prefix string                // begins every key and channel
	TTL    time.Duration         // how long a value lives without a Get or Put; at least a millisecond

	// A write waits until MinReplicas have it, for up to ReplicaTimeout. 0 waits for none.
	MinReplicas    int
	ReplicaTimeout time.Duration

	// ValidID reports whether an id in an event can be one of the caller's. The default accepts every id but "".
	ValidID func(id string) bool
}

// Store keeps values of one prefix. It is safe for concurrent use by any number of processes.
type Store struct {
	client         redis.UniversalClient
	prefix         string
	ttl            time.Duration
	minReplicas    int
	replicaTimeout time.Duration
	validID        func(id string) bool
	events         string // the channel for events
}

// New returns a store. Redis need not be there yet.
func New(c Config) *Store {
	if c.ValidID == nil {
		c.ValidID = func(id string) bool { return id != "" }
	}
	return &Store{
		client: c.Client, prefix: c.Prefix, ttl: c.TTL,
		minReplicas: c.MinReplicas, replicaTimeout: c.ReplicaTimeout,
		validID: c.ValidID, events: c.Prefix + "!events",
	}
}

// Get returns a value, and starts its TTL anew.
func (s *Store) Get(ctx context.Context, id string) (Value, error) {
	stored, err := s.client.GetEx(ctx, s.key(id), s.ttl).Bytes()
	if err != nil {
		return Value{}, translate(err)
	}
	return parseValue(stored)
}

// Condition is what must be stored for a [Store.Put] to take place.
type Condition string

// The conditions that name no revision.
const (
	Always   Condition = ""       // a value, or none
	IfAbsent Condition = "absent" // none, else ErrExists
)

// IfRevision is the condition that the stored value has this revision, else ErrConflict or ErrMissing.
func IfRevision(revision uint64) Condition { return Condition(header(revision)) }

// Put writes a value that lives for the TTL, but not past end unless that is zero. It returns the new revision, which
// is higher than the stored one. When end is over already, it is ErrMissing.
func (s *Store) Put(
	ctx context.Context, id string, data []byte, c Condition, end time.Time,
) (revision uint64, err error) {
	args := append(make([]any, 0, 6), data, s.ttl.Milliseconds(), s.events, id)
	if !end.IsZero() {
		args = append(args, string(c), end.UnixMilli())
	} else if c != Always {
		args = append(args, string(c))
	}
	reply, err := s.write(ctx, putScript, s.key(id), args...)
	if err != nil {
		return 0, translate(err)
	}
	switch reply {
	case "missing":
		return 0, ErrMissing
	case "exists":
		return 0, ErrExists
	case "conflict":
		return 0, ErrConflict
	case "corrupt":
		return 0, ErrCorrupt
	}
	text, _ := reply.(string)
	revision, ok := parseRevision(text)
	if !ok {
		return 0, errUnexpectedReply
	}
	return revision, nil
}

// Cap makes a value end no later than at an instant, if it still has this revision. [Store.Get] cannot do that: only
// its caller, who decodes the value, knows the instant.
func (s *Store) Cap(ctx context.Context, id string, revision uint64, end time.Time) error {
	_, err := runScript(ctx, s.client, capScript, []string{s.key(id)}, header(revision), end.UnixMilli())
	return translate(ignoreNil(err))
}

// Take deletes a value and returns it. A caller that finds it unreadable calls undo, which puts it back with the TTL
// that it had, unless another value is stored by then. undo is best effort.
func (s *Store) Take(ctx context.Context, id string) (v Value, undo func(), err error) {
	reply, err := s.write(ctx, takeScript, s.key(id), s.events, id)
	if err != nil {
		return Value{}, nil, translate(err)
	}
	parts, _ := reply.([]any)
	if len(parts) == 0 {
		return Value{}, nil, errUnexpectedReply
	}
	stored, _ := parts[0].(string)
	undo = func() {
		if len(parts) > 1 { // else the script did not delete it
			left, _ := parts[1].(int64)
			_ = s.client.SetNX(ctx, s.key(id), stored, max(0, time.Duration(left)*time.Millisecond)).Err()
		}
	}
	v, err = parseValue([]byte(stored))
	if err != nil {
		undo() // the script checks less of the header
		return Value{}, nil, err
	}
	return v, undo, nil
}

// Delete deletes what is stored, if anything, and announces it in any case.
func (s *Store) Delete(ctx context.Context, id string) error {
	_, err := s.write(ctx, deleteScript, s.key(id), s.events, id)
	return translate(ignoreNil(err))
}

func (s *Store) key(id string) string { return s.prefix + id }

// ignoreNil is for scripts that return nothing.
func ignoreNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// translate turns those of the client's errors that are answers about the value into this package's.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return ErrMissing
	case strings.Contains(err.Error(), "WRONGTYPE"): // older servers put more in front of a script's error
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
