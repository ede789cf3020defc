package session

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisStorage keeps sessions in Redis 6.2 or later, or Valkey: standalone, behind Sentinel, or a Cluster. It is safe
// for concurrent use by any number of processes.
//
// Each session is one string, readable with redis-cli: a version digit, the revision in 16 hex digits, the encoded
// session. Redis expires it; each Load and Store starts its TTL anew. Every operation is one round trip: GETEX to load,
// a script for the rest. Two corners need a second one: the first use of a script on a server, and loading a session
// whose [Session.ExpiresAt] is nearer than the TTL.
//
// The client belongs to the caller, who closes it. Its time-outs bound the calls, and contexts do too if the client has
// ContextTimeoutEnabled, which is recommended. A write is never repeated after it was sent: when its reply is lost, the
// caller learns that the outcome is unknown ([ErrUnavailable]) instead of getting the answer of a second attempt.
type RedisStorage struct {
	client  redis.UniversalClient
	ttl     time.Duration
	prefix  string
	events  string // the channel of the events
	codec   Codec
	maxSize int

	replicas replication
}

// RedisOption configures a [RedisStorage].
type RedisOption interface{ applyRedis(r *RedisStorage) }

type redisOption func(r *RedisStorage)

func (o redisOption) applyRedis(r *RedisStorage) { o(r) }

// WithKeyPrefix sets what the keys of sessions, and the names of the library's channels, begin with. The default is
// "session:". Storages with different prefixes see nothing of each other, unless one prefix is the beginning of
// another.
func WithKeyPrefix(prefix string) RedisOption {
	return redisOption(func(r *RedisStorage) { r.prefix = prefix })
}

// WithCodec sets how sessions are encoded. The default is [JSONCodec]. It panics when codec is nil.
func WithCodec(codec Codec) RedisOption {
	if isNil(codec) {
		panic("session: WithCodec: the codec is nil")
	}
	return redisOption(func(r *RedisStorage) { r.codec = codec })
}

// NewRedisStorage returns a storage on the caller's client, whose sessions are gone after ttl without a Load or Store.
// Redis need not be there yet. It panics when client is nil, or ttl is less than a millisecond, Redis' unit.
func NewRedisStorage(client redis.UniversalClient, ttl time.Duration, opts ...RedisOption) *RedisStorage {
	if isNil(client) {
		panic("session: NewRedisStorage: the client is nil")
	}
	if ttl < time.Millisecond {
		panic(fmt.Sprintf("session: NewRedisStorage: ttl %v: must be at least 1ms", ttl))
	}
	r := &RedisStorage{client: client, ttl: ttl, prefix: "session:", codec: JSONCodec{}, maxSize: defaultMaxSize}
	for _, opt := range opts {
		opt.applyRedis(r)
	}
	r.events = r.prefix + "!events"
	return r
}

// TTL returns how long a session lives without being used.
func (r *RedisStorage) TTL() time.Duration { return r.ttl }

// Store implements [Storage].
func (r *RedisStorage) Store(ctx context.Context, s *Session) error {
	expected := ""
	if s != nil {
		if base := s.Revision(); base != 0 {
			expected = header(base)
		}
	}
	return r.write(ctx, "store", s, expected)
}

// Create implements [Creator].
func (r *RedisStorage) Create(ctx context.Context, s *Session) error {
	return r.write(ctx, "create", s, "absent")
}

// Load implements [Storage].
func (r *RedisStorage) Load(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "load", id); err != nil {
		return nil, err
	}
	value, err := r.client.GetEx(ctx, r.key(id), r.ttl).Bytes()
	if err != nil {
		return nil, r.failure(ctx, "load", id, err)
	}
	s, err := r.decode(id, value)
	if err != nil {
		return nil, failBecause("load", ErrCorrupt, err, "")
	}
	if s.expiresAt.IsZero() {
		return s, nil
	}
	now := time.Now()
	if s.expiresAt.Before(now.Add(r.ttl)) {
		// GETEX has made the key outlive the session. Nobody could load it, but somebody who holds a copy could store
		// it again with a later expiry, and so bring back a session that is over.
		_, err := runScript(ctx, r.client, capScript, []string{r.key(id)}, header(s.Revision()), s.expiresAt.UnixMilli())
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, r.failure(ctx, "load", id, err)
		}
	}
	if s.Expired(now) {
		return nil, fail("load", ErrNotFound)
	}
	return s, nil
}

// Take implements [Taker].
func (r *RedisStorage) Take(ctx context.Context, id string) (*Session, error) {
	if err := checkCall(ctx, "take", id); err != nil {
		return nil, err
	}
	reply, err := r.run(ctx, takeScript, r.key(id), r.events, id)
	if err != nil {
		return nil, r.failure(ctx, "take", id, err)
	}
	parts, _ := reply.([]any)
	if len(parts) == 0 {
		return nil, failBecause("take", ErrUnavailable, errNonsense, errNonsense.Error())
	}
	value, _ := parts[0].(string)
	s, err := r.decode(id, []byte(value))
	if err != nil {
		if len(parts) > 1 {
			r.putBack(ctx, id, value, parts[1])
		}
		return nil, failBecause("take", ErrCorrupt, err, "")
	}
	if s.Expired(time.Now()) {
		return nil, fail("take", ErrNotFound)
	}
	return s, nil
}

// putBack returns a value that turned out not to be a session only after it was taken. It is not ours to destroy.
// Should this fail, the error of Take still says that it was corrupt.
func (r *RedisStorage) putBack(ctx context.Context, id, value string, milliseconds any) {
	left, _ := milliseconds.(int64)
	_ = r.client.SetNX(ctx, r.key(id), value, max(0, time.Duration(left)*time.Millisecond)).Err()
}

// Delete implements [Storage].
func (r *RedisStorage) Delete(ctx context.Context, id string) error {
	if err := checkCall(ctx, "delete", id); err != nil {
		return err
	}
	_, err := r.run(ctx, deleteScript, r.key(id), r.events, id)
	if err != nil && !errors.Is(err, redis.Nil) {
		return r.failure(ctx, "delete", id, err)
	}
	return nil
}

// DeleteExpired implements [Storage]. It does nothing: Redis expires sessions by itself.
func (r *RedisStorage) DeleteExpired(ctx context.Context, _ time.Time) error {
	if err := ctx.Err(); err != nil {
		return fail("delete expired", err)
	}
	return nil
}

func (r *RedisStorage) write(ctx context.Context, op string, s *Session, expected string) error {
	if s == nil {
		return fail(op, ErrInvalidID)
	}
	if err := checkCall(ctx, op, s.id); err != nil {
		return err
	}
	if s.Expired(time.Now()) {
		return fail(op, ErrNotFound)
	}
	data, err := r.codec.Encode(s)
	if err != nil {
		return failBecause(op, errEncode, err, redact(err, s.id))
	}
	if len(data) > r.maxSize {
		return fail(op, ErrTooLarge)
	}
	args := append(make([]any, 0, 6), data, r.ttl.Milliseconds(), r.events, s.id)
	if !s.expiresAt.IsZero() {
		args = append(args, expected, s.expiresAt.UnixMilli())
	} else if expected != "" {
		args = append(args, expected)
	}
	reply, err := r.run(ctx, storeScript, r.key(s.id), args...)
	if err != nil {
		return r.failure(ctx, op, s.id, err)
	}
	switch reply {
	case "missing":
		return fail(op, ErrNotFound)
	case "exists":
		return fail(op, ErrExists)
	case "conflict":
		return fail(op, ErrConflict)
	case "corrupt":
		return fail(op, ErrCorrupt)
	}
	text, _ := reply.(string)
	revision, ok := parseRevision(text)
	if !ok {
		return failBecause(op, ErrUnavailable, errNonsense, errNonsense.Error())
	}
	Stamp(s, revision)
	return nil
}

func (r *RedisStorage) key(id string) string { return r.prefix + id }

func (r *RedisStorage) decode(id string, value []byte) (*Session, error) {
	revision, data, err := splitValue(value)
	if err != nil {
		return nil, err
	}
	return decodeFor(r.codec, id, data, revision)
}

// failure translates an error of the client. It never says more than is known: whatever is not an answer about this
// session is an outage.
func (r *RedisStorage) failure(ctx context.Context, op, id string, err error) error {
	switch {
	case errors.Is(err, redis.Nil):
		return fail(op, ErrNotFound)
	case errors.Is(ctx.Err(), context.Canceled):
		return failBecause(op, context.Canceled, err, "")
	case strings.Contains(err.Error(), "WRONGTYPE"): // older servers put more in front of a script's error
		return failBecause(op, ErrCorrupt, err, "")
	}
	detail := redact(err, id)
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = errors.Join(ended, err)
	}
	return failBecause(op, ErrUnavailable, err, detail)
}

// checkCall is what every call on a single id begins with.
func checkCall(ctx context.Context, op, id string) error {
	if err := ValidateID(id); err != nil {
		return fail(op, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(op, err)
	}
	return nil
}

// isNil also finds the nil pointer in a non-nil interface: the client that somebody forgot to initialize.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	value := reflect.ValueOf(v)
	return value.Kind() == reflect.Pointer && value.IsNil()
}

var (
	errEncode   = errors.New("the codec failed")
	errNonsense = errors.New("unexpected reply")
)
