package session

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Type says what kind of session this is. The package gives it no meaning; applications may define their own.
type Type string

// The session types of the Model Context Protocol's HTTP transports.
const (
	TypeStreamable Type = "streamable" // Streamable HTTP
	TypeSSE        Type = "sse"        // HTTP with server-sent events
)

// Session is an immutable snapshot of one session's state.
//
// Every method that changes something returns a changed copy. That is what lets a storage hand the same pointer to all
// its callers without copying: nothing that is reachable through a *Session can be modified. It is safe for concurrent
// use. Make one with [New] or [FromRecord]; the zero value is a session without an id, which every storage refuses.
//
// Formatting and logging a Session never shows its id, principal or contents: ids are credentials to many of their
// users.
type Session struct {
	// revision is the one field that changes in place: a storage sets it on the caller's session when a write
	// succeeded, so that Store(s) followed by Store(s.With(...)) works.
	revision atomic.Uint64

	expiresAt time.Time // zero: no absolute expiry; beside the revision, as local hits look at these two
	id        string
	typ       Type
	principal string
	createdAt time.Time
	updatedAt time.Time
	metadata  []pair // sorted by key, never modified once it is here
	data      string // a string, because bytes could be changed by whoever decodes them
}

type pair struct{ key, value string }

// New returns a session with the given id, created now and not stored anywhere yet. Use [NewID] for a fresh id. The id
// is checked by the storages, see [ValidateID].
func New(id string) *Session {
	now := normalTime(time.Now())
	return &Session{id: id, createdAt: now, updatedAt: now}
}

// ID returns the session's id. Treat it as a credential.
func (s *Session) ID() string { return s.id }

// Type returns what kind of session this is, or "".
func (s *Session) Type() Type { return s.typ }

// Principal names the owner, or is empty. See [Session.WithPrincipal].
func (s *Session) Principal() string { return s.principal }

// CreatedAt returns when the session was made with [New], in UTC, to the microsecond.
func (s *Session) CreatedAt() time.Time { return s.createdAt }

// UpdatedAt returns when the session was last changed by one of the With methods, in UTC, to the microsecond. Loading a
// session, or keeping it alive, does not change it.
func (s *Session) UpdatedAt() time.Time { return s.updatedAt }

// ExpiresAt returns the instant from which the session is never served any more, whatever the traffic. The zero time
// means that it has no absolute end and lives for as long as it is used.
func (s *Session) ExpiresAt() time.Time { return s.expiresAt }

// Get returns a metadata value and whether it is set.
func (s *Session) Get(key string) (string, bool) {
	i, ok := s.find(key)
	if !ok {
		return "", false
	}
	return s.metadata[i].value, true
}

// Metadata iterates over all metadata in the order of the keys.
func (s *Session) Metadata() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range s.metadata {
			if !yield(p.key, p.value) {
				return
			}
		}
	}
}

// Data returns a copy of the opaque application data, nil if there is none. The copy is the caller's.
func (s *Session) Data() []byte {
	if s.data == "" {
		return nil
	}
	return []byte(s.data)
}

// Decode unmarshals the application data, which must be JSON, into the value that v points to.
func (s *Session) Decode(v any) error {
	// Through a copy: an UnmarshalJSON method may write into the bytes that it is given.
	if err := json.Unmarshal([]byte(s.data), v); err != nil {
		return fmt.Errorf("session: decode data: %w", err)
	}
	return nil
}

// Revision identifies the stored state that this session is, or was derived from. It is 0 for a session that was never
// stored or loaded. Storing a session with a revision succeeds only if the storage still holds that revision.
func (s *Session) Revision() uint64 { return s.revision.Load() }

// WithType returns a copy of another type.
func (s *Session) WithType(t Type) *Session {
	c := s.derive()
	c.typ = Type(validText(string(t)))
	return c
}

// WithPrincipal returns a copy that belongs to another owner. Name the owner by what stays the same when tokens are
// renewed, an issuer and a subject for example; never by a token.
func (s *Session) WithPrincipal(principal string) *Session {
	c := s.derive()
	c.principal = validText(principal)
	return c
}

// WithExpiresAt returns a copy that is never served at or after t, whatever the traffic. The zero time removes the
// limit. Instants are kept to the microsecond, rounded down.
func (s *Session) WithExpiresAt(t time.Time) *Session {
	c := s.derive()
	c.expiresAt = normalTime(t)
	return c
}

// With returns a copy with a metadata value set. Keys and values are UTF-8; invalid bytes are replaced by U+FFFD at
// once, so that every storage gives back exactly what the session holds.
func (s *Session) With(key, value string) *Session {
	c := s.derive()
	key, value = validText(key), validText(value)
	i, found := s.find(key)
	if found {
		c.metadata = slices.Clone(s.metadata)
		c.metadata[i].value = value
	} else {
		c.metadata = make([]pair, 0, len(s.metadata)+1)
		c.metadata = append(c.metadata, s.metadata[:i]...)
		c.metadata = append(c.metadata, pair{key, value})
		c.metadata = append(c.metadata, s.metadata[i:]...)
	}
	return c
}

// Without returns a copy with a metadata value removed, if it was set.
func (s *Session) Without(key string) *Session {
	c := s.derive()
	if i, found := s.find(key); found {
		c.metadata = slices.Concat(s.metadata[:i], s.metadata[i+1:])
	}
	return c
}

// WithData returns a copy with other application data: any bytes, JSON if [Session.Decode] is to read it. The bytes are
// copied.
func (s *Session) WithData(data []byte) *Session {
	c := s.derive()
	c.data = string(data)
	return c
}

// Detached returns a copy with revision 0, for storing it as a new session in another storage. Nothing else changes.
func (s *Session) Detached() *Session {
	c := s.clone()
	c.revision.Store(0)
	return c
}

// Expired reports whether the session's absolute lifetime is over at the given instant.
func (s *Session) Expired(at time.Time) bool {
	return !s.expiresAt.IsZero() && !at.Before(s.expiresAt)
}

// Stamp sets the revision of a session. It is for authors of storages: they call it on what they decoded, and on the
// caller's session when a write of it succeeded. Do not use it to get around a conflict.
func Stamp(s *Session, revision uint64) { s.revision.Store(revision) }

// clone copies everything, the revision included. The metadata slice is shared: it is never modified.
func (s *Session) clone() *Session {
	c := &Session{
		id: s.id, typ: s.typ, principal: s.principal,
		createdAt: s.createdAt, updatedAt: s.updatedAt, expiresAt: s.expiresAt,
		metadata: s.metadata, data: s.data,
	}
	c.revision.Store(s.revision.Load())
	return c
}

// derive is a clone that is about to be changed.
func (s *Session) derive() *Session {
	c := s.clone()
	c.updatedAt = normalTime(time.Now())
	return c
}

// snapshot is the copy that a cache or a storage keeps: the caller's own session may be stamped again at any time.
func (s *Session) snapshot(revision uint64) *Session {
	c := s.clone()
	c.revision.Store(revision)
	return c
}

func (s *Session) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.metadata, key, func(p pair, key string) int { return strings.Compare(p.key, key) })
}

// size is what the session holds, in bytes, without the overhead of any encoding.
func (s *Session) size() int {
	n := len(s.id) + len(s.typ) + len(s.principal) + len(s.data)
	for _, p := range s.metadata {
		n += len(p.key) + len(p.value)
	}
	return n
}

// Format writes the type and the revision only, whatever the verb: a session that ends up in a log must not take its id
// with it.
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

// latest is the last instant that every encoding of time can express.
var latest = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// normalTime makes an instant one that survives every encoding unchanged: UTC, whole microseconds, no monotonic
// reading, and within the years that RFC 3339 can write.
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

func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
