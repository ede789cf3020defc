package session

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func FuzzJSONCodecRoundTrip(f *testing.F) {
	f.Add("id", "streamable", "issuer|user", int64(0), int64(1), int64(2), "key", "value", "\xff", "x", []byte{0, 255})
	f.Add("<&>", "", "", int64(-1), int64(1<<62), int64(0), "", "\u2028", "a", "\x00", []byte(nil))
	f.Fuzz(func(t *testing.T, id, typ, principal string, created, updated, expires int64, k1, v1, k2, v2 string,
		data []byte,
	) {
		if ValidateID(id) != nil {
			return // no storage encodes a session with such an id
		}
		s := FromRecord(Record{
			ID: id, Type: Type(typ), Principal: principal, CreatedAt: time.UnixMicro(created),
			UpdatedAt: time.UnixMicro(updated), ExpiresAt: time.UnixMicro(expires),
			Metadata: map[string]string{k1: v1, k2: v2}, Data: data,
		}).With(k1, v2)
		encoded, err := JSONCodec{}.Encode(s)
		require.NoError(t, err)
		marshaled, err := json.Marshal(s.Record())
		require.NoError(t, err)
		require.Equal(t, string(marshaled), string(encoded))
		decoded, err := JSONCodec{}.Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, s, decoded)
	})
}

func FuzzDecodePlain(f *testing.F) {
	const times = `,"created_at":"2026-01-02T03:04:05.000006Z","updated_at":"2026-01-02T03:04:05Z"`
	f.Add([]byte(`{"id":"id"` + times + `}`))
	f.Add([]byte(`{"id":"id","type":"sse","principal":"p"` + times +
		`,"expires_at":"2030-01-02T03:04:05Z","metadata":{"a":"b","c":"d"},"data":"AAE="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decodePlain(data)
		if s == nil {
			return
		}
		var r Record
		require.NoError(t, json.Unmarshal(data, &r))
		require.Equal(t, FromRecord(r), s)
	})
}

// TestPlainJSONIsReadWithoutEncodingJSON would fail if encoding/json read everything.
func TestPlainJSONIsReadWithoutEncodingJSON(t *testing.T) {
	t.Parallel()
	full := New("id").WithType(TypeSSE).WithPrincipal("p").WithExpiresAt(time.Unix(2e9, 0)).WithData([]byte{0, 255})
	for i := range 20 {
		full = full.With(strings.Repeat("k", i), "http://10.0.0.7:8080/mcp")
	}
	for _, s := range []*Session{New("id"), full} {
		encoded, err := JSONCodec{}.Encode(s)
		require.NoError(t, err)
		require.Equal(t, s, decodePlain(encoded))
	}
}

func TestOtherJSONIsLeftToEncodingJSON(t *testing.T) {
	t.Parallel()
	const times = `,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"`
	for _, data := range []string{
		``, `{`, `null`,
		`{"id":""` + times + `}`,
		`{"id":"id"}`,
		`{"id":"id"` + times + `} `,
		`{"id":"id"` + times + `}}`,
		`{"id":"id"` + times + `,"later":1}`,
		`{"id":"i\u0064"` + times + `}`,
		`{"id":"i\"d"` + times + `}`,
		"{\"id\":\"id\",\"type\":\"\u00e9\"" + times + `}`,
		`{"id":"id"` + times + `,"metadata":{}}`,
		`{"id":"id"` + times + `,"metadata":{"b":"1","a":"2"}}`,
		`{"id":"id"` + times + `,"metadata":{"a":"1","a":"2"}}`,
		`{"id":"id"` + times + `,"metadata":{"a":"1",}}`,
		`{"id":"id"` + times + `,"data":"A"}`,
		`{"id":"id","created_at":"yesterday","updated_at":"2026-01-02T03:04:05Z"}`,
	} {
		require.Nil(t, decodePlain([]byte(data)), data)
	}
}

func FuzzDecodeStoredValue(f *testing.F) {
	good, err := JSONCodec{}.Encode(New("id").With("k", "v").WithData([]byte{1}).WithExpiresAt(time.Unix(2e9, 0)))
	require.NoError(f, err)
	f.Add(string(good))
	f.Add(`{"id":"id"}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, data string) {
		s, err := decodeFor(JSONCodec{}, "id", []byte(data), 5)
		if err != nil {
			require.Nil(t, s)
			return
		}
		require.Equal(t, "id", s.ID())
		require.EqualValues(t, 5, s.Revision())
		again, err := JSONCodec{}.Encode(s)
		require.NoError(t, err, "a decoded session can be stored again")
		decoded, err := JSONCodec{}.Decode(again)
		require.NoError(t, err)
		Stamp(decoded, s.Revision())
		require.Equal(t, s, decoded)
	})
}

func TestJSONCodecIgnoresUnknownFields(t *testing.T) {
	t.Parallel()
	s, err := JSONCodec{}.Decode([]byte(`{"id":"id","added_later":true}`))
	require.NoError(t, err)
	require.Equal(t, "id", s.ID())
	_, err = JSONCodec{}.Decode([]byte(`{"type":"streamable"}`))
	require.ErrorContains(t, err, "no id")
}

func TestFromRecordMakesEqualKeysOne(t *testing.T) {
	t.Parallel()
	for range 100 { // the order of a map is random
		s := FromRecord(Record{ID: "id", Metadata: map[string]string{"\xff": "b", "\xfe": "a"}})
		require.Equal(t, map[string]string{"\uFFFD": "a"}, s.Record().Metadata)
	}
}
