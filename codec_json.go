package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// JSONCodec is the default [Codec]. Its output is readable with redis-cli. It keeps fields that it does not know, and
// writes them back as they were, after the others: a later version can add some while replicas of both are running.
//
// But for these ([Record].Unknown) it writes what [json.Marshal] writes for the [Record], and it reads everything that
// [json.Unmarshal] can read. Its own output, as long as it is plain ASCII, it reads in a fraction of that time:
// otherwise, decoding would cost a miss more than everything else that this library adds to the round trip.
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
	if s.idleTimeout != 0 {
		b = strconv.AppendInt(append(b, `,"idle_timeout":`...), int64(s.idleTimeout), 10)
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
	return append(append(b, s.unknown...), '}'), nil
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

// plain reports whether a byte stands for itself between quotes.
func plain(c byte) bool { return c >= ' ' && c <= '~' && strings.IndexByte(`"\<>&`, c) < 0 }

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

const errNoID = errs.SafeError("the value has no id")

// Decode implements [Codec]. What is no session is [ErrCorrupt].
func (JSONCodec) Decode(data []byte) (*Session, error) {
	if s := decodePlain(data); s != nil {
		return s, nil
	}
	var known struct {
		Record

		Hidden json.RawMessage `json:"unknown"` // the Record's: in this format, "unknown" is a name like any other
	}
	if err := json.Unmarshal(data, &known); err != nil {
		return nil, opErrBecause("decode", ErrCorrupt, err)
	}
	if known.ID == "" {
		return nil, opErrBecause("decode", ErrCorrupt, errNoID)
	}
	known.Unknown = data
	return FromRecord(known.Record), nil
}

// unknownMembers returns the members of a JSON object whose names are none of a session's fields, in their order, as
// they are, with a comma before each. It returns "" for anything else.
func unknownMembers(object []byte) string {
	if !json.Valid(object) {
		return ""
	}
	in := json.NewDecoder(bytes.NewReader(object))
	if start, err := in.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	var b []byte
	for in.More() {
		begin := in.InputOffset()
		token, err := in.Token()
		end := in.InputOffset()
		name, _ := token.(string)
		var value json.RawMessage
		if err != nil || in.Decode(&value) != nil {
			return "" // cannot happen: the object is valid
		}
		if slices.ContainsFunc(fields, func(field string) bool { return strings.EqualFold(field, name) }) {
			continue
		}
		quoted := bytes.TrimLeft(object[begin:end], ", \t\r\n")
		b = append(append(append(append(b, ','), quoted...), ':'), value...)
	}
	return string(b)
}

// fields are the names of a session's fields. Like encoding/json, the codec takes a name in another case for the same:
// a member that is written back must not override a field when it is read again.
var fields = []string{
	"id", "type", "principal", "created_at", "updated_at", "expires_at", "idle_timeout", "metadata", "data",
}

// unknownObject is the reverse of unknownMembers.
func (s *Session) unknownObject() json.RawMessage {
	if s.unknown == "" {
		return nil
	}
	return json.RawMessage("{" + s.unknown[1:] + "}")
}

// decodePlain reads the output of Encode if every text in it is plain. It returns nil for anything else.
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
	if in.skip(`,"idle_timeout":`) {
		s.idleTimeout = normalIdle(in.duration())
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

// plainReader reads from the front of rest. Once it has failed, everything that it returns is meaningless.
type plainReader struct {
	rest   []byte
	failed bool
}

// skip skips a literal if it comes next, and reports whether it did.
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

// quoted returns the text between the next quotes.
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

// duration reads a number as Encode writes it: neither 0, nor with a fraction or an exponent.
func (in *plainReader) duration() time.Duration {
	n := 0
	for n < len(in.rest) && (in.rest[n] == '-' || in.rest[n] >= '0' && in.rest[n] <= '9') {
		n++
	}
	digits := string(in.rest[:n])
	number, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strings.TrimPrefix(digits, "-")[0] == '0' {
		in.failed = true
	}
	in.rest = in.rest[n:]
	return time.Duration(number)
}

func (in *plainReader) metadata() []pair {
	if !in.skip(`,"metadata":{`) {
		return nil
	}
	var few [8]pair // so that a slice of the right size is the only allocation
	pairs := few[:0]
	for more := true; more && !in.failed; more = in.skip(",") {
		key := in.text()
		in.expect(":")
		if n := len(pairs); n > 0 && pairs[n-1].key >= key {
			in.failed = true // not in order, or a duplicate
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
