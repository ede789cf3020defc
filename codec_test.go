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

func FuzzDecodeStoredValue(f *testing.F) {
	good, err := JSONCodec{}.Encode(New("id").With("k", "v").WithData([]byte{1}).WithExpiresAt(time.Unix(2e9, 0)))
	require.NoError(f, err)
	f.Add(header(5) + string(good))
	f.Add(header(maxRevision) + `{"id":"id"}`)
	f.Add("1")
	f.Add("2" + strings.Repeat("0", 16) + "{}")
	f.Fuzz(func(t *testing.T, value string) {
		st := &RedisStorage{codec: JSONCodec{}}
		s, err := st.decode("id", value)
		if err != nil {
			require.Nil(t, s)
			return
		}
		require.Equal(t, "id", s.ID())
		require.Equal(t, value[:headerLength], header(s.Revision()))
		again, err := JSONCodec{}.Encode(s)
		require.NoError(t, err, "what can be decoded can be stored again")
		decoded, err := JSONCodec{}.Decode(again)
		require.NoError(t, err)
		Stamp(decoded, s.Revision())
		require.Equal(t, s, decoded)
	})
}

func TestJSONCodecIgnoresWhatItDoesNotKnow(t *testing.T) {
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
