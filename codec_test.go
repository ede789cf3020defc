package session

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func FuzzJSONCodecRoundTrip(f *testing.F) {
	f.Add("id", "streamable", "issuer|user", int64(0), int64(1), int64(2), int64(3), "key", "value", "\xff", "x",
		[]byte{0, 255})
	f.Add("<&>", "", "", int64(-1), int64(1<<62), int64(0), int64(-1), "", "\u2028", "a", "\x00", []byte(nil))
	f.Fuzz(func(t *testing.T, id, typ, principal string, created, updated, expires, idle int64, k1, v1, k2, v2 string,
		data []byte,
	) {
		if ValidateID(id) != nil {
			return // no storage encodes a session with such an id
		}
		s := FromRecord(Record{
			ID: id, Type: Type(typ), Principal: principal, CreatedAt: time.UnixMicro(created),
			UpdatedAt: time.UnixMicro(updated), ExpiresAt: time.UnixMicro(expires), IdleTimeout: time.Duration(idle),
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
		`,"expires_at":"2030-01-02T03:04:05Z","idle_timeout":60000000000,"metadata":{"a":"b","c":"d"},"data":"AAE="}`))
	f.Add([]byte(`{"id":"id"` + times + `,"idle_timeout":-1}`))
	f.Add([]byte(`{"id":"id"` + times + `,"idle_timeout":9223372036854775807}`))
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
	full := New("id").WithType(TypeSSE).WithPrincipal("p").WithExpiresAt(time.Unix(2e9, 0)).WithData([]byte{0, 255}).
		WithIdleTimeout(time.Hour)
	for i := range 20 {
		full = full.With(strings.Repeat("k", i), "http://10.0.0.7:8080/mcp")
	}
	for _, s := range []*Session{New("id"), full, New("id").WithIdleTimeout(NoIdleTimeout)} {
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
		`{"id":"id"` + times + `,"idle_timeout":}`,
		`{"id":"id"` + times + `,"idle_timeout":0}`,
		`{"id":"id"` + times + `,"idle_timeout":-0}`,
		`{"id":"id"` + times + `,"idle_timeout":01}`,
		`{"id":"id"` + times + `,"idle_timeout":1-1}`,
		`{"id":"id"` + times + `,"idle_timeout":1e3}`,
		`{"id":"id"` + times + `,"idle_timeout":9223372036854775808}`,
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

func TestJSONCodecKeepsUnknownFields(t *testing.T) {
	t.Parallel()
	const times = `"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"`
	for stored, want := range map[string]string{
		`{"id":"id",` + times + `,"added_later":true}`: `,"added_later":true`,
		// In their order, names and values as they are, and without the space around them.
		`{ "z" : [1,  {"a":[ ]}] , "id":"id",` + times + "\n,\t" + `"\u00e9":"\u003c<\ud83d" ,"é": -0.1e+1}`: "" +
			`,"z":[1,  {"a":[ ]}],"\u00e9":"\u003c<\ud83d","é":-0.1e+1`,
		`{"z":1,"id":"id",` + times + `,"z":null}`:                         `,"z":1,"z":null`,
		`{"id":"id",` + times + `,"unknown":{"a":1}}`:                      `,"unknown":{"a":1}`,
		`{"id":"id",` + times + `,"ID":"id","Principal":"","Metadata":{}}`: ``, // encoding/json takes them for fields
		`{"id":"id",` + times + `,"":0}`:                                   `,"":0`,
		`{"id":"id",` + times + `}`:                                        ``,
	} {
		s, err := JSONCodec{}.Decode([]byte(stored))
		require.NoError(t, err)
		require.Equal(t, "id", s.ID())
		if want == "" {
			require.Nil(t, s.Record().Unknown)
		} else {
			require.Equal(t, "{"+want[1:]+"}", string(s.Record().Unknown))
		}
		require.Equal(t, len(want)+len("id"), s.size(), "they count")
		encoded, err := JSONCodec{}.Encode(s)
		require.NoError(t, err)
		require.Equal(t, `{"id":"id",`+times+want+`}`, string(encoded))
	}
	for stored, text := range map[string]string{
		`{"type":"streamable"}`: "session: decode: corrupt value: the value has no id",
		`{"id":4711}`:           "session: decode: corrupt value: (details hidden: *json.UnmarshalTypeError)",
	} {
		_, err := JSONCodec{}.Decode([]byte(stored))
		require.ErrorIs(t, err, ErrCorrupt)
		require.EqualError(t, err, text)
	}
}

func TestUnknownFieldsCannotOverrideOthers(t *testing.T) {
	t.Parallel()
	for _, unknown := range []string{
		``, `null`, `[]`, `"text"`, `{`, `{}`, `{"a":1}}`, `{"a":1},`,
		`{"principal":"admin"}`, `{"PRINCIPAL":"admin","Id":"x"}`, `{"\u0070rincipal":"admin"}`,
		`{"metadata":{"role":"admin"}}`, "{\"expire\u017f_at\":\"2030-01-02T03:04:05Z\"}",
	} {
		s := FromRecord(Record{ID: "id", Principal: "user", Unknown: json.RawMessage(unknown)})
		require.Nil(t, s.Record().Unknown, unknown)
		encoded, err := JSONCodec{}.Encode(s)
		require.NoError(t, err)
		decoded, err := JSONCodec{}.Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, s, decoded, unknown)
	}
	unknown := json.RawMessage(`{"a":1}`)
	s := FromRecord(Record{ID: "id", Unknown: unknown})
	unknown[2] = 'X'
	clear(s.Record().Unknown)
	require.Equal(t, `{"a":1}`, string(s.Record().Unknown), "they are copies")
}

// TestUnknownFieldsSurvive plays an older release that handles what a newer one has stored.
func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	const later = `,"quota":3600,"later":{"x":[1, 2],"é":null}`
	newer := func() *Session {
		encoded, err := JSONCodec{}.Encode(New(testID).With("a", "b"))
		require.NoError(t, err)
		s, err := JSONCodec{}.Decode([]byte(string(encoded[:len(encoded)-1]) + later + "}"))
		require.NoError(t, err)
		return s
	}
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { require.NoError(t, client.Close()) }()
	for name, remote := range map[string]Storage{
		"memory": NewMemoryStorage(time.Hour), "redis": NewRedisStorage(client, time.Hour),
	} {
		st := NewRoutingStorage(remote, 10)
		require.NoError(t, st.Store(t.Context(), newer()))
		_, err := Update(t.Context(), remote, testID, func(s *Session) (*Session, error) {
			return s.WithType("t").WithPrincipal("p").WithData([]byte("d")).With("k", "v").Without("a").
				WithExpiresAt(time.Now().Add(time.Hour)).Detached(), nil
		})
		require.NoError(t, err)
		s, err := remote.Load(t.Context(), testID)
		require.NoError(t, err)
		renewed, err := Renew(t.Context(), st, s.With("k", "w"))
		require.NoError(t, err)
		loaded, err := remote.Load(t.Context(), renewed.ID())
		require.NoError(t, err)
		encoded, err := JSONCodec{}.Encode(loaded)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(encoded), later+"}"), "%s: %s", name, encoded)
		require.NoError(t, st.Close())
	}
}

func FuzzUnknownFieldsSurvive(f *testing.F) {
	f.Add(`"later"`, `{"a":[1, 2]}`, `"z"`, `null`)
	f.Add(`"principal"`, `"x"`, `"Unknown"`, `1e999`)
	f.Add(`"\u0069d"`, `"id"`, `"expire\u017f_at"`, `"2030-01-02T03:04:05Z"`)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		stored := `{"id":"id","type":"t",` + name1 + ":" + value1 + "," + name2 + ":" + value2 + "}"
		s, err := JSONCodec{}.Decode([]byte(stored))
		if err != nil {
			return
		}
		encoded, err := JSONCodec{}.Encode(s)
		require.NoError(t, err)
		again, err := JSONCodec{}.Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, s, again)
		require.Equal(t, s, FromRecord(s.Record()))
		var before, after map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(stored), &before))
		require.NoError(t, json.Unmarshal(encoded, &after))
		for name, value := range before {
			if slices.ContainsFunc(fields, func(field string) bool { return strings.EqualFold(field, name) }) {
				continue
			}
			require.Equal(t, string(value), string(after[name]), "byte for byte")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	s := New(NewID()).WithType(TypeStreamable).WithPrincipal("https://issuer.example|user-1").
		With("backend_url", "http://10.0.0.7:8080/mcp").With("tenant", "t-1").WithData(make([]byte, 100))
	encoded, err := JSONCodec{}.Encode(s)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (JSONCodec{}).Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFromRecordMakesEqualKeysOne(t *testing.T) {
	t.Parallel()
	for range 100 { // the order of a map is random
		s := FromRecord(Record{ID: "id", Metadata: map[string]string{"\xff": "b", "\xfe": "a"}})
		require.Equal(t, map[string]string{"\uFFFD": "a"}, s.Record().Metadata)
	}
}
