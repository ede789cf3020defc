package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// Type is the kind of a session. The package gives it no meaning; applications may define their own.
type Type string

// The session types of the Model Context Protocol's HTTP transports.
const (
	TypeStreamable Type = "streamable" // Streamable HTTP
	TypeSSE        Type = "sse"        // HTTP with server-sent events
)

// Session is an immutable snapshot of one session's state.
//
// Every method that changes something returns a changed copy. Nothing that is reachable through a *Session can be
// modified, so a storage can hand the same pointer to all its callers without copying. A Session is safe for concurrent
// use. Make one with [New] or [FromRecord]; the zero value is a session without an id, which every storage refuses.
//
// A nil *Session has the zero value of everything: no method of it panics, but for MarshalJSON, which encoding/json
// does not call for nil. A changed copy of nil is nil, which every storage refuses.
//
// Formatting or logging a Session never shows its id, principal or contents: for many users, an id is a credential.
type Session struct {
	noJSON

	// revision is the only field that changes in place: a storage sets it on the caller's session when a write has
	// succeeded, so that Store(s) followed by Store(s.With(...)) works.
	revision atomic.Uint64

	expiresAt   time.Time // zero: no absolute expiry; next to revision, because every local hit reads both
	idleTimeout time.Duration
	id          string
	typ         Type
	principal   string
	createdAt   time.Time
	updatedAt   time.Time
	metadata    []pair // sorted by key, and never modified once set
	data        string // a string, so that nothing that reads it can change it
	unknown     string // see Record.Unknown: the members with a comma before each, or ""
}

// NoIdleTimeout is the [Session.IdleTimeout] of a session that ends at its [Session.ExpiresAt] only, used or not.
const NoIdleTimeout time.Duration = -1

type pair struct{ key, value string }

// New returns a session with the given id. It is created now, and not stored yet. Use [NewID] for a fresh id. Storages
// check the id, see [ValidateID].
func New(id string) *Session {
	now := normalTime(time.Now())
	return &Session{id: strings.Clone(id), createdAt: now, updatedAt: now}
}

// empty is what the methods of a nil session read. It is never changed.
var empty Session

func (s *Session) orEmpty() *Session {
	if s == nil {
		return &empty
	}
	return s
}

// ID returns the session's id. Treat it as a credential.
func (s *Session) ID() string { return s.orEmpty().id }

// Type returns the kind of the session, or "".
func (s *Session) Type() Type { return s.orEmpty().typ }

// Principal returns the owner, or "". See [Session.WithPrincipal].
func (s *Session) Principal() string { return s.orEmpty().principal }

// CreatedAt returns when the session was made with [New], in UTC, to the microsecond.
func (s *Session) CreatedAt() time.Time { return s.orEmpty().createdAt }

// UpdatedAt returns when one of the With methods last changed the session, in UTC, to the microsecond. Loading a
// session, or keeping it alive, does not change it.
func (s *Session) UpdatedAt() time.Time { return s.orEmpty().updatedAt }

// ExpiresAt returns the instant from which the session is never served any more, however often it is used. The zero
// time means that it has no absolute expiry, and lives as long as it is used.
func (s *Session) ExpiresAt() time.Time { return s.orEmpty().expiresAt }

// IdleTimeout returns how long the session lives without being loaded or stored. 0 means that the storage's TTL counts,
// [NoIdleTimeout] that only ExpiresAt ends the session.
func (s *Session) IdleTimeout() time.Duration { return s.orEmpty().idleTimeout }

// Get returns a metadata value, and whether it is set.
func (s *Session) Get(key string) (string, bool) {
	s = s.orEmpty()
	i, ok := s.find(key)
	if !ok {
		return "", false
	}
	return s.metadata[i].value, true
}

// Metadata iterates over all metadata, sorted by key.
func (s *Session) Metadata() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range s.orEmpty().metadata {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// Data returns a copy of the opaque application data, nil if there is none. The caller may change the copy.
func (s *Session) Data() []byte {
	if s.orEmpty().data == "" {
		return nil
	}
	return []byte(s.data)
}

// Decode unmarshals the application data, which must be JSON, into the value that v points to. [ErrCorrupt]: the data
// do not fit; the error of encoding/json, whose text may show them, is hidden, and stays reachable with [errors.As].
// [errors.ErrUnsupported]: v is no pointer.
func (s *Session) Decode(v any) error {
	const op = "decode data"
	// Decode a copy: an UnmarshalJSON method may write to its input.
	err := json.Unmarshal([]byte(s.orEmpty().data), v)
	if _, invalid := errors.AsType[*json.InvalidUnmarshalError](err); invalid {
		return opErrBecause(op, errors.ErrUnsupported, errs.Reason("it needs a pointer that is not nil, not a %T", v))
	}
	if err != nil {
		return opErrBecause(op, ErrCorrupt, errs.Because("the data are no JSON of this type", err))
	}
	return nil
}

// Revision identifies the stored state that this session is or was derived from. It is 0 for a session that was never
// stored or loaded. Storing a session with a revision succeeds only if the storage still holds that revision.
func (s *Session) Revision() uint64 { return s.orEmpty().revision.Load() }

// WithType returns a copy with another type.
func (s *Session) WithType(t Type) *Session {
	return s.derive(func(c *Session) { c.typ = Type(ownText(string(t))) })
}

// WithPrincipal returns a copy with another owner; "" for none. Identify the owner by something that stays the same
// when tokens are renewed, such as the [Principal] of an issuer and a subject; never by a token. Text that is not UTF-8
// is adjusted like that of [Session.With], which may make two owners the same; what Principal returns never needs that.
func (s *Session) WithPrincipal(principal string) *Session {
	return s.derive(func(c *Session) { c.principal = ownText(principal) })
}

// WithExpiresAt returns a copy that is never served at or after t, however often it is used. The zero time removes the
// limit; a storage with [WithMaxLifetime] sets its own then. Instants are kept to the microsecond, rounded down.
func (s *Session) WithExpiresAt(t time.Time) *Session {
	return s.derive(func(c *Session) { c.expiresAt = normalTime(t) })
}

// WithIdleTimeout returns a copy that lives for d without being loaded or stored, whatever the storage's TTL: longer
// for "remember me", shorter for an administrator. d is rounded up to whole milliseconds. 0 means the storage's TTL.
// With [NoIdleTimeout], or any other negative d, only ExpiresAt ends the session, which it must have: a storage refuses
// a session that would never end with [ErrLifetime].
func (s *Session) WithIdleTimeout(d time.Duration) *Session {
	return s.derive(func(c *Session) { c.idleTimeout = normalIdle(d) })
}

// With returns a copy with a metadata value set. Keys and values are UTF-8; invalid bytes are replaced by U+FFFD at
// once, so that every storage returns exactly what the session holds. They are copied.
func (s *Session) With(key, value string) *Session {
	key, value = ownText(key), ownText(value)
	return s.derive(func(c *Session) {
		i, found := s.find(key)
		if found {
			c.metadata = slices.Clone(s.metadata)
			c.metadata[i].value = value
		} else {
			c.metadata = slices.Concat(s.metadata[:i], []pair{{key, value}}, s.metadata[i:])
		}
	})
}

// Without returns a copy with a metadata value removed, if it was set.
func (s *Session) Without(key string) *Session {
	return s.derive(func(c *Session) {
		if i, found := s.find(key); found {
			c.metadata = slices.Concat(s.metadata[:i], s.metadata[i+1:])
		}
	})
}

// WithMetadata returns a copy that has the given metadata and no other. The map is copied. Text that is not UTF-8 is
// adjusted like that of [Session.With]; of keys that are equal then, one stays. nil removes all metadata.
func (s *Session) WithMetadata(metadata map[string]string) *Session {
	return s.derive(func(c *Session) { c.metadata = pairsOf(metadata) })
}

// WithData returns a copy with other application data: any bytes, or JSON for use with [Session.Decode]. The bytes are
// copied.
func (s *Session) WithData(data []byte) *Session {
	return s.derive(func(c *Session) { c.data = string(data) })
}

// Detached returns a copy with revision 0, to be stored as a new session or in another storage. Everything else stays
// the same.
func (s *Session) Detached() *Session {
	if s == nil {
		return nil
	}
	return s.snapshot(0)
}

// Expired reports whether the session's absolute lifetime is over at the given instant.
func (s *Session) Expired(at time.Time) bool {
	end := s.ExpiresAt()
	return !end.IsZero() && !at.Before(end)
}

// Stamp sets the revision of a session. It is for authors of storages: they call it on a session that they decoded, and
// on the caller's session when a write of it has succeeded. Do not use it to get around a conflict.
func Stamp(s *Session, revision uint64) { s.revision.Store(revision) }

// clone copies everything, including the revision. The metadata slice is shared: it is never modified.
func (s *Session) clone() *Session {
	c := &Session{
		id: s.id, typ: s.typ, principal: s.principal,
		createdAt: s.createdAt, updatedAt: s.updatedAt, expiresAt: s.expiresAt, idleTimeout: s.idleTimeout,
		metadata: s.metadata, data: s.data, unknown: s.unknown,
	}
	c.revision.Store(s.revision.Load())
	return c
}

// derive returns a copy that was changed now. A copy of nil is nil.
func (s *Session) derive(change func(c *Session)) *Session {
	if s == nil {
		return nil
	}
	c := s.clone()
	change(c)
	c.updatedAt = normalTime(time.Now())
	return c
}

// limited returns the session with the end that a storage with this [WithMaxLifetime] gives it. It is the session
// itself if that has an end already: storing a loaded session again does not move its end.
func (s *Session) limited(lifetime time.Duration) *Session {
	if lifetime <= 0 || !s.expiresAt.IsZero() {
		return s
	}
	now := normalTime(time.Now())
	from := s.createdAt
	if from.IsZero() || from.After(now) {
		from = now
	}
	c := s.clone()
	c.expiresAt = normalTime(from.Add(lifetime))
	return c
}

// checkLifetime refuses a session that is over, or would never end. One that is not new was stored before: it is gone.
func checkLifetime(op string, s *Session, isNew bool) error {
	switch over := s.Expired(time.Now()); {
	case over && isNew:
		return opErrBecause(op, ErrLifetime, errs.Reason("its ExpiresAt has passed"))
	case over:
		return opErr(op, ErrNotFound)
	case s.idleTimeout < 0 && s.expiresAt.IsZero():
		return opErrBecause(op, ErrLifetime, errs.Reason("with neither an idle time-out nor an ExpiresAt it would never end"))
	}
	return nil
}

// snapshot returns the copy for a cache or a storage to keep. The caller's own session will not do: a storage may stamp
// it again.
func (s *Session) snapshot(revision uint64) *Session {
	c := s.clone()
	c.revision.Store(revision)
	return c
}

func (s *Session) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.metadata, key, func(p pair, key string) int { return strings.Compare(p.key, key) })
}

// Format writes only the type and the revision, whatever the verb, so that a session in a log does not show its id.
func (s *Session) Format(f fmt.State, _ rune) {
	if s == nil {
		_, _ = io.WriteString(f, "session.Session(nil)")
		return
	}
	_, _ = fmt.Fprintf(f, "session.Session{type: %s, revision: %d}", string(s.typ), s.Revision())
}

// LogValue is [Session.Format] for structured logs.
func (s *Session) LogValue() slog.Value {
	if s == nil {
		return slog.StringValue("nil")
	}
	return slog.GroupValue(slog.String("type", string(s.typ)), slog.Uint64("revision", s.Revision()))
}

// noJSON is embedded in a [Session], so that the value has the method, too: of a method of the pointer alone, the value
// would be encoded as an empty object.
type noJSON struct{}

// MarshalJSON is an error: a session that is part of a reply or a log record would show its id, or arrive as an empty
// object. Encode its [Session.Record] where that is what you want. A nil session is null.
func (noJSON) MarshalJSON() ([]byte, error) {
	return nil, opErrBecause("marshal", errors.ErrUnsupported, errs.SafeError("encode its Record instead"))
}

// UnmarshalJSON is an error: a session cannot be changed. Decode a [Record], and use [FromRecord].
func (s *Session) UnmarshalJSON([]byte) error {
	return opErrBecause("unmarshal", errors.ErrUnsupported, errs.SafeError("decode a Record instead"))
}

// latest is the last instant that every time encoding can express.
var latest = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// normalTime changes an instant to one that survives every encoding: UTC, whole microseconds, no monotonic reading, and
// within the years that RFC 3339 can write.
func normalTime(t time.Time) time.Time {
	switch t = t.UTC(); {
	case t.IsZero():
		return time.Time{}
	case t.After(latest):
		return latest
	case t.Before(time.Unix(0, 0)):
		return time.Unix(0, 0).UTC()
	}
	return t.Truncate(time.Microsecond)
}

// normalIdle changes an idle time-out to one that every storage can express: whole milliseconds, or none.
func normalIdle(d time.Duration) time.Duration {
	const unit = time.Millisecond
	switch {
	case d < 0:
		return NoIdleTimeout
	case d%unit == 0:
		return d
	case d > math.MaxInt64-unit:
		return d.Truncate(unit)
	}
	return d.Truncate(unit) + unit
}

func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// ownText returns text for a session to hold. The caller's may be a part of something larger, such as a whole request,
// which would stay in memory with the session, and be counted nowhere.
func ownText(s string) string { return strings.Clone(validText(s)) }
