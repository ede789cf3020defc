package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// Codec turns sessions into bytes and back. Implementations are safe for concurrent use. They neither keep nor change
// the bytes that they are given. They do not encode the revision: it is kept beside the value. Decode(Encode(s)) equals
// s in everything else. Wrap [JSONCodec] to compress, [SealedCodec] encrypts; use [Record] for another format.
type Codec interface {
	Encode(s *Session) ([]byte, error)
	Decode(data []byte) (*Session, error)
}

// Record is a session's contents as plain data: the input of a [Codec]. Unlike a Session, it is mutable; the caller
// owns it.
type Record struct {
	ID        string    `json:"id"`
	Type      Type      `json:"type,omitempty"`
	Principal string    `json:"principal,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: no absolute expiry

	// IdleTimeout is that of [Session.WithIdleTimeout]; in JSON, a number of nanoseconds.
	IdleTimeout time.Duration `json:"idle_timeout,omitempty"`

	Metadata map[string]string `json:"metadata,omitempty"`
	Data     []byte            `json:"data,omitempty"`

	// Unknown is a JSON object with what a later version of this package has stored, and this one does not know: loading
	// a session and storing it again keeps that, byte for byte. [JSONCodec] writes its members beside the other fields. A
	// codec of another format should keep the object as it is. nil: there is none.
	Unknown json.RawMessage `json:"unknown,omitempty"`
}

// Record returns a copy of the session's contents, without the revision.
func (s *Session) Record() Record {
	s = s.orEmpty()
	r := Record{
		ID: s.id, Type: s.typ, Principal: s.principal,
		CreatedAt: s.createdAt, UpdatedAt: s.updatedAt, ExpiresAt: s.expiresAt, IdleTimeout: s.idleTimeout,
		Data: s.Data(), Unknown: s.unknownObject(),
	}
	if len(s.metadata) > 0 {
		r.Metadata = make(map[string]string, len(s.metadata))
		for _, p := range s.metadata {
			r.Metadata[p.key] = p.value
		}
	}
	return r
}

// FromRecord makes a session with revision 0 from plain data, which it copies. Like the With methods, it adjusts text
// that is not UTF-8, and instants and durations that cannot be expressed. Unknown counts only if it is a JSON object,
// and without the members that have the name of a field.
func FromRecord(r Record) *Session {
	return &Session{
		id: strings.Clone(r.ID), typ: Type(ownText(string(r.Type))), principal: ownText(r.Principal),
		createdAt: normalTime(r.CreatedAt), updatedAt: normalTime(r.UpdatedAt), expiresAt: normalTime(r.ExpiresAt),
		idleTimeout: normalIdle(r.IdleTimeout),
		metadata:    pairsOf(r.Metadata), data: string(r.Data), unknown: unknownMembers(r.Unknown),
	}
}

// pairsOf returns metadata as a session holds it.
func pairsOf(metadata map[string]string) []pair {
	var pairs []pair
	pairs = slices.Grow(pairs, len(metadata))
	for key, value := range metadata {
		pairs = append(pairs, pair{ownText(key), ownText(value)})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.value, b.value))
	})
	// Keys that differed only in invalid bytes are equal now.
	return slices.CompactFunc(pairs, func(a, b pair) bool { return a.key == b.key })
}

const (
	errWrongID = errs.SafeError("the value is another session's")
	errMoved   = errs.SafeError("the sealed value was altered, or moved: it is another session's")
)

// decodeFor decodes a value that was found under an id, and refuses it if it belongs to another id: a value that was
// copied or restored to the wrong key must not hand one user the session of another.
func decodeFor(codec Codec, id string, data []byte, revision uint64) (*Session, error) {
	s, err := codec.Decode(data)
	if reason, ok := errors.AsType[errs.SafeError](err); ok { // of a SealedCodec
		return nil, errs.Because(reason.Error(), err)
	}
	if err != nil {
		return nil, errs.Because("the codec cannot decode the value", err)
	}
	if s == nil || s.id != id {
		if _, ok := codec.(*SealedCodec); ok && bytes.HasPrefix(data, []byte(sealedPrefix)) {
			return nil, errMoved
		}
		return nil, errWrongID
	}
	Stamp(s, revision)
	return s, nil
}
