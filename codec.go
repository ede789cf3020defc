package session

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Codec turns sessions into bytes and back. Implementations are safe for concurrent use, keep no reference to the bytes
// they are given, and do not encode the revision: it is kept beside the value. Decode(Encode(s)) equals s in everything
// else. Wrap [JSONCodec] to encrypt or compress; use [Record] for another format.
type Codec interface {
	Encode(s *Session) ([]byte, error)
	Decode(data []byte) (*Session, error)
}

// JSONCodec is the default [Codec]. Its output is meant to be read with redis-cli too. It ignores fields that it does
// not know, so that a later version may add some.
type JSONCodec struct{}

// Encode implements [Codec]. It writes what [json.Marshal] does of the [Record], in a third of the time.
func (JSONCodec) Encode(s *Session) ([]byte, error) {
	const punctuation = 160 // names, times, quotes
	b := make([]byte, 0, punctuation+8*len(s.metadata)+s.size()*4/3)
	b = appendText(append(b, `{"id":`...), s.id)
	if s.typ != "" {
		b = appendText(append(b, `,"type":`...), string(s.typ))
	}
	if s.principal != "" {
		b = appendText(append(b, `,"principal":`...), s.principal)
	}
	b = appendTime(append(b, `,"created_at":`...), s.createdAt)
	b = appendTime(append(b, `,"updated_at":`...), s.updatedAt)
	if !s.expiresAt.IsZero() {
		b = appendTime(append(b, `,"expires_at":`...), s.expiresAt)
	}
	for i, p := range s.metadata {
		separator := `,"metadata":{`
		if i > 0 {
			separator = ","
		}
		b = appendText(append(b, separator...), p.key)
		b = appendText(append(b, ':'), p.value)
	}
	if len(s.metadata) > 0 {
		b = append(b, '}')
	}
	if s.data != "" {
		b = base64.StdEncoding.AppendEncode(append(b, `,"data":"`...), []byte(s.data))
		b = append(b, '"')
	}
	return append(b, '}'), nil
}

func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			quoted, _ := json.Marshal(text) //nolint:errchkjson // a string is always encoded
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// Decode implements [Codec].
func (JSONCodec) Decode(data []byte) (*Session, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.ID == "" {
		return nil, errors.New("session: decode: no id")
	}
	return FromRecord(r), nil
}

// Record is a session's contents as plain data: what a [Codec] encodes. Unlike a Session it is mutable, and belongs to
// whoever has it.
type Record struct {
	ID        string            `json:"id"`
	Type      Type              `json:"type,omitempty"`
	Principal string            `json:"principal,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"` // zero: no absolute expiry
	Metadata  map[string]string `json:"metadata,omitempty"`
	Data      []byte            `json:"data,omitempty"`
}

// Record returns a copy of the session's contents, without the revision.
func (s *Session) Record() Record {
	r := Record{
		ID: s.id, Type: s.typ, Principal: s.principal,
		CreatedAt: s.createdAt, UpdatedAt: s.updatedAt, ExpiresAt: s.expiresAt,
		Data: s.Data(),
	}
	if len(s.metadata) > 0 {
		r.Metadata = make(map[string]string, len(s.metadata))
		for _, p := range s.metadata {
			r.Metadata[p.key] = p.value
		}
	}
	return r
}

// FromRecord makes a session of revision 0 from plain data, which it copies. Text that is not UTF-8 and instants that
// cannot be expressed are adjusted as the With methods do it.
func FromRecord(r Record) *Session {
	s := &Session{
		id: r.ID, typ: Type(validText(string(r.Type))), principal: validText(r.Principal),
		createdAt: normalTime(r.CreatedAt), updatedAt: normalTime(r.UpdatedAt), expiresAt: normalTime(r.ExpiresAt),
		data: string(r.Data),
	}
	s.metadata = slices.Grow(s.metadata, len(r.Metadata))
	for key, value := range r.Metadata {
		s.metadata = append(s.metadata, pair{validText(key), validText(value)})
	}
	slices.SortFunc(s.metadata, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.value, b.value))
	})
	// Keys that differed only in invalid bytes are one key now.
	s.metadata = slices.CompactFunc(s.metadata, func(a, b pair) bool { return a.key == b.key })
	return s
}

var errWrongID = errors.New("the value is another session's")

// decodeFor decodes a value that was found under an id, and refuses it when it is not that id's: a value that was
// copied or restored to the wrong key must not hand one user the session of another.
func decodeFor(codec Codec, id string, data []byte, revision uint64) (*Session, error) {
	s, err := codec.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("session: decode: %w", err)
	}
	if s == nil || s.id != id {
		return nil, errWrongID
	}
	Stamp(s, revision)
	return s, nil
}
