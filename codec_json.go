package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// JSONCodec is the default [Codec]. Its output is meant to be read with redis-cli too. It ignores fields that it does
// not know, so that a later version may add some.
//
// It writes what [json.Marshal] does of the [Record], and reads whatever [json.Unmarshal] can. What it has written
// itself, in plain ASCII, it reads in a fraction of that time: a miss would otherwise spend more on the decoding than
// on all else that this library adds to the round trip.
type JSONCodec struct{}

// Encode implements [Codec].
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
		if !plain(text[i]) {
			quoted, _ := json.Marshal(text) //nolint:errchkjson // a string is always encoded
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// plain tells whether a byte of a text stands for itself between quotes.
func plain(c byte) bool { return c >= ' ' && c <= '~' && strings.IndexByte(`"\<>&`, c) < 0 }

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// Decode implements [Codec].
func (JSONCodec) Decode(data []byte) (*Session, error) {
	if s := decodePlain(data); s != nil {
		return s, nil
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.ID == "" {
		return nil, errors.New("session: decode: no id")
	}
	return FromRecord(r), nil
}

// decodePlain reads what Encode writes as long as every text is plain. Of all else it makes nothing.
func decodePlain(data []byte) *Session {
	in := plainReader{rest: data}
	s := new(Session)
	in.expect(`{"id":`)
	s.id = in.text()
	if in.skip(`,"type":`) {
		s.typ = Type(in.text())
	}
	if in.skip(`,"principal":`) {
		s.principal = in.text()
	}
	in.expect(`,"created_at":`)
	s.createdAt = in.time()
	in.expect(`,"updated_at":`)
	s.updatedAt = in.time()
	if in.skip(`,"expires_at":`) {
		s.expiresAt = in.time()
	}
	s.metadata = in.metadata()
	if in.skip(`,"data":`) {
		s.data = in.base64()
	}
	in.expect("}")
	if in.failed || len(in.rest) > 0 || s.id == "" {
		return nil
	}
	return s
}

// plainReader reads from the front of what is left. Once it has failed, all that it returns is meaningless.
type plainReader struct {
	rest   []byte
	failed bool
}

// skip goes on behind a literal if that comes next.
func (in *plainReader) skip(literal string) bool {
	if len(in.rest) < len(literal) || string(in.rest[:len(literal)]) != literal {
		return false
	}
	in.rest = in.rest[len(literal):]
	return true
}

func (in *plainReader) expect(literal string) {
	if !in.skip(literal) {
		in.failed = true
	}
}

// quoted returns what is between the quotes that come next.
func (in *plainReader) quoted() []byte {
	in.expect(`"`)
	end := bytes.IndexByte(in.rest, '"')
	if in.failed || end < 0 {
		in.failed = true
		return nil
	}
	text := in.rest[:end]
	in.rest = in.rest[end+1:]
	for _, c := range text {
		if !plain(c) {
			in.failed = true
		}
	}
	return text
}

func (in *plainReader) text() string { return string(in.quoted()) }

func (in *plainReader) time() time.Time {
	var t time.Time
	if t.UnmarshalText(in.quoted()) != nil {
		in.failed = true
	}
	return normalTime(t)
}

func (in *plainReader) metadata() []pair {
	if !in.skip(`,"metadata":{`) {
		return nil
	}
	var few [8]pair // so that a slice of the right size is all that is allocated
	pairs := few[:0]
	for more := true; more && !in.failed; more = in.skip(",") {
		key := in.text()
		in.expect(":")
		if n := len(pairs); n > 0 && pairs[n-1].key >= key {
			in.failed = true // not in order, or twice
		}
		pairs = append(pairs, pair{key, in.text()})
	}
	in.expect("}")
	return slices.Clone(pairs)
}

func (in *plainReader) base64() string {
	decoded, err := base64.StdEncoding.AppendDecode(nil, in.quoted())
	if err != nil {
		in.failed = true
	}
	return string(decoded)
}
