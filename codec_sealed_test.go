package session

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// keyNamed returns a key with a random secret.
func keyNamed(id string) Key {
	secret := make([]byte, keySize)
	_, _ = rand.Read(secret)
	return Key{ID: id, Secret: secret}
}

func ringOf(t testing.TB, keys ...Key) *KeyRing {
	t.Helper()
	ring, err := NewKeyRing(keys...)
	require.NoError(t, err)
	return ring
}

func TestBadKeysAreRefused(t *testing.T) {
	t.Parallel()
	good := keyNamed("2026-11")
	swapped := Key{ID: base64.StdEncoding.EncodeToString(good.Secret), Secret: []byte("2026-11")}
	for want, keys := range map[string][]Key{
		"there is no key": nil,
		"key 1 of 1: the secret has 0 bytes, it must have 32":    {{ID: "a"}},
		"key 2 of 2: the secret has 16 bytes, it must have 32":   {good, {ID: "a", Secret: good.Secret[:16]}},
		"key 1 of 1: the secret has 33 bytes, it must have 32":   {{ID: "a", Secret: append([]byte("x"), good.Secret...)}},
		"key 1 of 1: the secret is one byte repeated":            {{ID: "a", Secret: make([]byte, keySize)}},
		"key 2 of 2: it has the id or the secret of key 1":       {good, keyNamed(good.ID)},
		"key 3 of 3: it has the id or the secret of key 1":       {good, keyNamed("a"), {ID: "b", Secret: good.Secret}},
		"key 1 of 1: the id is not 1 to 32 letters, digits, dot": {swapped},
	} {
		ring, err := NewKeyRing(keys...)
		require.ErrorContains(t, err, "session: NewKeyRing: "[:21], want)
		require.ErrorContains(t, err, want)
		require.Nil(t, ring)
		require.NotContains(t, err.Error(), swapped.ID)
	}
	for id, valid := range map[string]bool{
		"": false, "a": true, "Ab-2_.9": true, "a b": false, "a\n": false, "é": false, "a:b": false,
		strings.Repeat("x", 32): true, strings.Repeat("x", 33): false,
	} {
		_, err := NewKeyRing(keyNamed(id))
		require.Equal(t, valid, err == nil, "%q", id)
	}
}

func TestKeysOfARingDoNotChange(t *testing.T) {
	t.Parallel()
	key := keyNamed("a")
	ring := ringOf(t, key)
	sealed := ring.Sealer("x").Seal([]byte("message"), nil)
	clear(key.Secret)
	message, err := ring.Sealer("x").Open(sealed, nil)
	require.NoError(t, err, "the secrets were copied")
	require.Equal(t, "message", string(message))
}

func TestKeysAreNeverShown(t *testing.T) {
	t.Parallel()
	key := keyNamed("a")
	ring := ringOf(t, key)
	sealer, codec := ring.Sealer("test"), NewSealedCodec(ring, JSONCodec{})
	log := new(bytes.Buffer)
	asJSON, asText := slog.New(slog.NewJSONHandler(log, nil)), slog.New(slog.NewTextHandler(log, nil))
	for _, v := range []any{
		key, &key, ring, *ring, sealer, *sealer, codec, *codec,
		[]Key{key},
		map[string]*KeyRing{"ring": ring},
		struct{ Key Key }{key},
		struct{ Ring KeyRing }{*ring},
		struct{ Codec Codec }{codec},
		struct{ ring *KeyRing }{ring},
		struct{ ring KeyRing }{*ring},
		struct{ sealer Sealer }{*sealer},
		struct{ codec SealedCodec }{*codec},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			_, _ = fmt.Fprintf(log, verb, v)
		}
		asJSON.Error("failed", "value", v)
		asText.Error("failed", "value", v)
	}
	for _, form := range []string{
		string(key.Secret), hex.EncodeToString(key.Secret), base64.StdEncoding.EncodeToString(key.Secret),
		strings.Trim(fmt.Sprintf("%d", key.Secret), "[]"),
	} {
		require.NotContains(t, log.String(), form)
	}
	for _, v := range []any{key, &key, ring, *ring, sealer, codec, []Key{key}, struct{ Ring KeyRing }{*ring}} {
		_, err := json.Marshal(v)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}

	var keys []Key
	secret := base64.StdEncoding.EncodeToString(key.Secret)
	require.NoError(t, json.Unmarshal([]byte(`[{"id":"a","secret":"`+secret+`"}]`), &keys))
	require.Equal(t, []Key{{ID: "a", Secret: key.Secret}}, keys)
}

func TestSealerOpensOnlyItsOwn(t *testing.T) {
	t.Parallel()
	key := keyNamed("a")
	ring := ringOf(t, key)
	s := ring.Sealer("a purpose")
	sealed := s.Seal([]byte("message"), []byte("alice"))
	require.NotEqual(t, sealed, s.Seal([]byte("message"), []byte("alice")))
	message, err := ring.Sealer("a purpose").Open(sealed, []byte("alice"))
	require.NoError(t, err)
	require.Equal(t, "message", string(message))

	sameSecret := Key{ID: "b", Secret: key.Secret}
	renamed := bytes.Replace(sealed, []byte("\x01a"), []byte("\x01b"), 1)
	for why, test := range map[string]struct {
		sealer  *Sealer
		sealed  []byte
		context string
		want    error
	}{
		"another context":         {s, sealed, "bob", errAltered},
		"no context":              {s, sealed, "", errAltered},
		"another purpose":         {ring.Sealer("another"), sealed, "alice", errAltered},
		"another secret":          {ringOf(t, keyNamed("a")).Sealer("a purpose"), sealed, "alice", errAltered},
		"another key":             {ringOf(t, keyNamed("b")).Sealer("a purpose"), sealed, "alice", errUnknownKey},
		"the same, renamed":       {ringOf(t, sameSecret).Sealer("a purpose"), renamed, "alice", errAltered},
		"nothing":                 {s, nil, "alice", errNotSealed},
		"a version of the future": {s, append([]byte{2}, sealed[1:]...), "alice", errNotSealed},
		"an id that is cut off":   {s, []byte{1, 5, 'a'}, "alice", errNotSealed},
		"nothing after the id":    {s, sealed[:3], "alice", errAltered},
		"the last byte missing":   {s, sealed[:len(sealed)-1], "alice", errAltered},
	} {
		message, err := test.sealer.Open(test.sealed, []byte(test.context))
		require.Nil(t, message, why)
		require.ErrorIs(t, err, ErrCorrupt, why)
		require.EqualError(t, err, "session: open: corrupt value: "+test.want.Error(), why)
	}
}

// fullSession has everything that a session can have, also what this release does not know.
func fullSession(t testing.TB, id string) *Session {
	t.Helper()
	s := New(id).WithType(TypeSSE).WithPrincipal("issuer alice").With("key", "value").WithData([]byte("app-data")).
		WithExpiresAt(time.Now().Add(time.Hour)).WithIdleTimeout(time.Minute)
	encoded, err := JSONCodec{}.Encode(s)
	require.NoError(t, err)
	s, err = JSONCodec{}.Decode(append(encoded[:len(encoded)-1], `,"later":[1, 2]}`...))
	require.NoError(t, err)
	return s
}

func TestSealedCodecKeepsEverything(t *testing.T) {
	t.Parallel()
	s := fullSession(t, secretID)
	codec := NewSealedCodec(ringOf(t, keyNamed("2026-11")), nil)
	plain, err := JSONCodec{}.Encode(s)
	require.NoError(t, err)
	sealed, err := codec.Encode(s)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(sealed, []byte("sealed:\x01\x072026-11")), "the key's id can be read")
	require.Len(t, sealed, len(plain)+len("sealed:")+2+len("2026-11")+24+16)
	for _, text := range []string{secretID, "alice", "key", "value", "later", "YXBwLWRhdGE"} {
		require.Contains(t, string(plain), text)
		require.NotContains(t, string(sealed), text)
	}
	decoded, err := codec.Decode(sealed)
	require.NoError(t, err)
	require.Equal(t, s, decoded)
	require.JSONEq(t, `{"later":[1,2]}`, string(decoded.Record().Unknown))
}

// TestAlteredValueIsCorrupt flips each bit of a value, and cuts it at each place.
func TestAlteredValueIsCorrupt(t *testing.T) {
	t.Parallel()
	codec := NewSealedCodec(ringOf(t, keyNamed("a"), keyNamed("b")), nil)
	sealed, err := codec.Encode(fullSession(t, secretID))
	require.NoError(t, err)
	refused := func(data []byte, what string, i int) string {
		s, err := decodeFor(codec, secretID, data, 7)
		require.Nil(t, s, what, i)
		require.Error(t, err, what, i)
		text := opErrBecause("load", ErrCorrupt, err).Error()
		require.Contains(t, []string{
			"session: load: corrupt value: the value is not sealed",
			"session: load: corrupt value: the value is sealed with an unknown key",
			"session: load: corrupt value: the sealed value was altered, or was sealed for something else",
		}, text, what, i)
		return text
	}
	texts := make(map[string]int)
	for i := range 8 * len(sealed) {
		altered := bytes.Clone(sealed)
		altered[i/8] ^= 1 << (i % 8)
		texts[refused(altered, "bit", i)]++
	}
	require.Len(t, texts, 3, "%v", texts)
	for n := range sealed {
		refused(sealed[:n], "length", n)
	}
	refused(append(bytes.Clone(sealed), 0), "a byte more", 1)
	_, err = decodeFor(codec, secretID, sealed, 7)
	require.NoError(t, err)
}

// TestSealedValuesInRedis plays what a writer of Redis can do.
func TestSealedValuesInRedis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	defer func() { require.NoError(t, client.Close()) }()
	old, key := keyNamed("old"), keyNamed("new")
	over := func(codec Codec) *RedisStorage { return NewRedisStorage(client, time.Minute, WithCodec(codec)) }
	sealing := over(NewSealedCodec(ringOf(t, key, old), nil))
	for name, st := range map[string]Storage{
		"mine": sealing, "yours": sealing, "retired": over(NewSealedCodec(ringOf(t, old), nil)), "plain": over(JSONCodec{}),
	} {
		require.NoError(t, st.Store(t.Context(), New(name).WithPrincipal("issuer "+name)))
	}
	get := func(name string) string {
		value, err := m.Get("session: " + name)
		require.NoError(t, err)
		return value
	}
	require.NoError(t, m.Set("session: moved", get("yours")))
	sealed := get("mine")
	require.NoError(t, m.Set("session: altered", sealed[:len(sealed)-1]+"x"))

	const corrupt = "session: load: corrupt value: "
	for id, want := range map[string]string{
		"mine": "", "yours": "", "retired": "",
		"plain":   corrupt + "the value is not sealed",
		"altered": corrupt + "the sealed value was altered, or was sealed for something else",
		"moved":   corrupt + "the sealed value was altered, or moved: it is another session's",
	} {
		before := get(id)
		s, err := sealing.Load(t.Context(), id)
		if want == "" {
			require.NoError(t, err, id)
			require.Equal(t, "issuer "+id, s.Principal())
			continue
		}
		require.ErrorIs(t, err, ErrCorrupt, id)
		require.EqualError(t, err, want, id)
		_, err = sealing.Take(t.Context(), id)
		require.ErrorIs(t, err, ErrCorrupt, id)
		require.Equal(t, before, get(id), "%s: it is left alone", id)
	}
	_, err := over(NewSealedCodec(ringOf(t, key), nil)).Load(t.Context(), "retired")
	require.EqualError(t, err, corrupt+"the value is sealed with an unknown key")
}

// TestKeysAreRotated goes through the deployments that the documentation names. Two replicas share each.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer func() { require.NoError(t, client.Close()) }()
	old, key := keyNamed("old"), keyNamed("new")
	plain := Codec(JSONCodec{})
	sealed := func(opts []SealedOption, keys ...Key) Codec { return NewSealedCodec(ringOf(t, keys...), nil, opts...) }
	deployments := []Codec{
		plain,
		sealed([]SealedOption{WritePlain()}, old),
		sealed([]SealedOption{AcceptPlain()}, old),
		sealed(nil, old),
		sealed(nil, old, key),
		sealed(nil, key, old),
		sealed(nil, key),
	}
	for i := 1; i < len(deployments); i++ {
		before := NewRedisStorage(client, time.Minute, WithCodec(deployments[i-1]))
		after := NewRedisStorage(client, time.Minute, WithCodec(deployments[i]))
		for _, by := range []*RedisStorage{before, after} {
			id := NewID()
			require.NoError(t, by.Store(t.Context(), New(id)))
			for _, st := range []*RedisStorage{before, after} {
				if st == after && by == before && (i == 3 || i == 6) {
					continue // the last step of either waits until nothing is left from before
				}
				_, err := st.Load(t.Context(), id)
				require.NoError(t, err, "step %d", i)
			}
		}
	}
}

func TestSealedCodecPassesErrorsOn(t *testing.T) {
	t.Parallel()
	codec := NewSealedCodec(ringOf(t, keyNamed("a")), failingCodec{})
	_, err := codec.Encode(New(secretID))
	require.ErrorContains(t, err, "cannot encode")
	sealed := codec.sealer.seal(sealedPrefix, []byte(secretID), nil)
	_, err = decodeFor(codec, secretID, sealed, 7)
	require.Equal(t, "session: load: corrupt value: the codec cannot decode the value",
		opErrBecause("load", ErrCorrupt, err).Error())
	require.Panics(t, func() { NewSealedCodec(nil, JSONCodec{}) })
}

func TestHashedIDsNeedASealedCodec(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "localhost:1"})
	defer func() { require.NoError(t, client.Close()) }()
	ring := ringOf(t, keyNamed("a"))
	storage := func(opts ...RedisOption) func() {
		return func() { NewRedisStorage(client, time.Minute, append(opts, WithHashedIDs())...) }
	}
	const panics = "session: NewRedisStorage: WithHashedIDs: the codec "
	require.PanicsWithValue(t, panics+"must be a SealedCodec, because values hold the ids", storage())
	require.PanicsWithValue(t, panics+"has WritePlain, and values hold the ids",
		storage(WithCodec(NewSealedCodec(ring, nil, WritePlain()))))
	require.NotPanics(t, storage(WithCodec(NewSealedCodec(ring, nil, AcceptPlain()))))

	names := newHashedNames(NewSealedCodec(ring, nil))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", names.Key("abc"), "FIPS 180-2")
	for _, id := range []string{"a", secretID, strings.Repeat("x", maxIDLength)} {
		parsed, ok := names.ParseEvent(names.Event(id))
		require.True(t, ok)
		require.Equal(t, id, parsed)
	}
	events := ring.Sealer("session/event")
	for _, text := range []string{
		"", "abc", names.Key("abc"), string(events.Seal([]byte("a b"), nil)), string(events.Seal(nil, nil)),
		string(ring.Sealer("session/value").Seal([]byte("abc"), nil)),
	} {
		_, ok := names.ParseEvent(text)
		require.False(t, ok, "%q", text)
	}
}

func FuzzSealedCodecDecode(f *testing.F) {
	codec := NewSealedCodec(ringOf(f, keyNamed("a")), nil)
	sealed, err := codec.Encode(New("id"))
	require.NoError(f, err)
	f.Add(sealed)
	f.Add([]byte(`{"id":"id"}`))
	f.Add([]byte("sealed:\x01\x01a"))
	f.Add([]byte("sealed:\x01\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := codec.Decode(data)
		if err == nil { // the key is another one each time, so this is the seed
			require.Equal(t, "id", s.ID())
			require.Equal(t, sealed, data)
			return
		}
		require.ErrorIs(t, err, ErrCorrupt)
		_, err = codec.sealer.Open(data, nil)
		require.ErrorIs(t, err, ErrCorrupt)
	})
}

// BenchmarkSealedCodec has rows for JSONCodec, for comparison. The session has about 1 KiB.
func BenchmarkSealedCodec(b *testing.B) {
	s := New(NewID()).WithType(TypeStreamable).WithPrincipal("https://issuer.example user-1").
		With("backend_url", "http://10.0.0.7:8080/mcp").WithData(make([]byte, 600))
	sealed := NewSealedCodec(ringOf(b, keyNamed("a")), nil)
	for name, codec := range map[string]Codec{"json": JSONCodec{}, "sealed": sealed} {
		encoded, err := codec.Encode(s)
		require.NoError(b, err)
		b.Run("encode/of="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.Encode(s); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decode/of="+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(encoded)))
			for b.Loop() {
				if _, err := codec.Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
