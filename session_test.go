package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWithLeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	data := []byte(`{"n":1}`)
	original := New("id").WithType(TypeSSE).WithPrincipal("p").With("b", "2").With("a", "1").With("c", "3").WithData(data)
	before := original.Record()
	data[0] = 'X'

	end := time.Date(2030, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
	changed := original.WithType(TypeStreamable).WithPrincipal("q").With("a", "x").With("aa", "y").Without("c").
		Without("absent").WithData([]byte("other")).WithExpiresAt(end)
	require.Equal(t, before, original.Record())
	require.Equal(t, `{"n":1}`, string(original.Data()))

	require.Equal(t, TypeStreamable, changed.Type())
	require.Equal(t, "q", changed.Principal())
	require.Equal(t, "other", string(changed.Data()))
	require.Equal(t, end.UTC().Truncate(time.Microsecond), changed.ExpiresAt())
	require.Equal(t, map[string]string{"a": "x", "aa": "y", "b": "2"}, maps.Collect(changed.Metadata()))
	require.Equal(t, original.CreatedAt(), changed.CreatedAt())
	_, ok := changed.Get("c")
	require.False(t, ok)

	var keys []string
	for k := range original.Metadata() {
		if keys = append(keys, k); len(keys) == 2 {
			break
		}
	}
	require.Equal(t, []string{"a", "b"}, keys, "sorted by key, and a loop may end early")
}

// scribble is a careless type that writes to the bytes that it is given.
type scribble struct{}

func (*scribble) UnmarshalJSON(b []byte) error {
	for i := range b {
		b[i] = 'X'
	}
	return nil
}

func TestNothingReachableCanBeChanged(t *testing.T) {
	t.Parallel()
	st := NewRoutingStorage(NewMemoryStorage(time.Hour), 10)
	defer func() { require.NoError(t, st.Close()) }()
	stored := New("id").With("k", "v").WithData([]byte(`{"n":1}`)).WithExpiresAt(time.Now().Add(time.Hour))
	want := stored.Record()
	require.NoError(t, st.Store(t.Context(), stored))

	s, err := st.Load(t.Context(), "id")
	require.NoError(t, err)
	clear(s.Data())
	require.NoError(t, s.Decode(new(scribble)))
	record := s.Record()
	clear(record.Data)
	record.Metadata["k"] = "changed"
	for k := range s.Metadata() {
		s.With(k, "changed")
	}
	s.Without("k")
	_ = json.Unmarshal([]byte(`{"id":"changed"}`), s)
	require.NoError(t, st.Store(t.Context(), stored), "stamps the caller's own session only")

	again, err := st.Load(t.Context(), "id")
	require.NoError(t, err)
	require.Equal(t, want, again.Record())
	require.Equal(t, want, s.Record())
}

func TestUpdatedAtFollowsChangesOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *stagedRemote, st *RoutingStorage) {
		s := New(testID)
		created := s.CreatedAt()
		require.Equal(t, created, s.UpdatedAt())
		time.Sleep(time.Second)
		require.NoError(t, st.Store(t.Context(), s))
		loaded, err := st.Load(t.Context(), testID)
		require.NoError(t, err)
		require.Equal(t, created, loaded.UpdatedAt())
		require.Equal(t, created, loaded.Detached().UpdatedAt())
		require.Equal(t, created.Add(time.Second), loaded.With("k", "v").UpdatedAt())
	})
}

func TestDerivedCopyKeepsItsRevision(t *testing.T) {
	t.Parallel()
	s := New("id")
	require.Zero(t, s.Revision())
	Stamp(s, 7)
	derived := s.With("k", "v")
	Stamp(s, 8)
	require.EqualValues(t, 7, derived.Revision())
	require.Zero(t, derived.Detached().Revision())
}

func TestTimesSurviveEveryEncoding(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Time]time.Time{
		{}:                        {},
		time.Unix(1, 999_999_999): time.Unix(1, 999_999_000).UTC(),
		time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC): time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC):  time.Unix(0, 0).UTC(),
	} {
		require.Equal(t, want, New("id").WithExpiresAt(in).ExpiresAt())
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	end := time.Unix(1000, 0)
	s := New("id").WithExpiresAt(end)
	require.False(t, s.Expired(end.Add(-1)))
	require.True(t, s.Expired(end))
	require.False(t, New("id").Expired(end))
}

func TestFormattedSessionShowsNoCredential(t *testing.T) {
	t.Parallel()
	s := New("secret-id").WithPrincipal("secret-user").With("secret-key", "secret-value").WithData([]byte("secret-data"))
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", "session", s, "none", (*Session)(nil))
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "session", s)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb, s)
		fmt.Fprintf(&log, verb, (*Session)(nil))
	}
	encoded, err := json.Marshal(map[string]any{"session": s})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "encode its Record instead")
	log.WriteString(err.Error())
	log.Write(encoded)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", "nested", struct{ S *Session }{s})
	require.ErrorIs(t, json.Unmarshal([]byte(`{"id":"changed"}`), s), errors.ErrUnsupported)
	require.NotContains(t, log.String(), "secret")
	require.NotContains(t, log.String(), fmt.Sprintf("%x", "secret"))
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var v struct{ N int }
	require.NoError(t, New("id").WithData([]byte(`{"n":3}`)).Decode(&v))
	require.Equal(t, 3, v.N)
	require.Nil(t, New("id").Data())
	for data, cause := range map[string]any{ // as encoding/json would show them
		``:                           new(*json.SyntaxError),
		`{"n":47114711471147114711}`: new(*json.UnmarshalTypeError),
		`{"at":"secret"}`:            new(*time.ParseError),
	} {
		var v struct {
			N  int
			At time.Time
		}
		err := New("id").WithData([]byte(data)).Decode(&v)
		require.ErrorIs(t, err, ErrCorrupt)
		require.EqualError(t, err, "session: decode data: corrupt value: the data are no JSON of this type")
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "47114711")
		require.ErrorAs(t, err, cause)
	}
	for _, v := range []any{nil, v, (*int)(nil)} {
		err := New("id").WithData([]byte(`{}`)).Decode(v)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NotErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf("not a %T", v))
	}
}

func TestNewID(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 1000 {
		id := NewID()
		require.NoError(t, ValidateID(id))
		require.GreaterOrEqual(t, len(id), 26, "130 bits in base 32")
		require.False(t, seen[id])
		seen[id] = true
	}
}

func FuzzValidateID(f *testing.F) {
	longest := strings.Repeat("a", 4096)
	for _, id := range []string{"", "a", "~", "!", " ", "\x7f", "é", longest, longest + "a"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		bad := func(c byte) bool { return c <= ' ' || c > '~' }
		valid := len(id) >= 1 && len(id) <= 4096 && !slices.ContainsFunc([]byte(id), bad)
		require.Equal(t, valid, ValidateID(id) == nil)
	})
}

func TestNilSession(t *testing.T) {
	t.Parallel()
	var s *Session
	require.Empty(t, s.ID())
	require.Empty(t, s.Type())
	require.Empty(t, s.Principal())
	require.Zero(t, s.CreatedAt())
	require.Zero(t, s.UpdatedAt())
	require.Zero(t, s.ExpiresAt())
	require.Zero(t, s.IdleTimeout())
	require.Zero(t, s.Revision())
	require.Nil(t, s.Data())
	require.Empty(t, maps.Collect(s.Metadata()))
	require.False(t, s.Expired(time.Now()))
	require.Equal(t, Record{}, s.Record())
	require.Error(t, s.Decode(new(int)))
	_, ok := s.Get("k")
	require.False(t, ok)
	for name, derived := range map[string]*Session{
		"WithType": s.WithType("t"), "WithPrincipal": s.WithPrincipal("p"), "WithExpiresAt": s.WithExpiresAt(time.Now()),
		"WithIdleTimeout": s.WithIdleTimeout(1), "With": s.With("k", "v"), "Without": s.Without("k"),
		"WithMetadata": s.WithMetadata(map[string]string{"k": "v"}), "WithData": s.WithData([]byte("d")),
		"Detached": s.Detached(),
	} {
		require.Nil(t, derived, name)
	}
	require.Equal(t, Record{}, empty.Record(), "and all of them read the same empty session")
}

// TestSessionIsNoJSON: wherever a session is, encoding it fails, by value as by pointer.
func TestSessionIsNoJSON(t *testing.T) {
	t.Parallel()
	s := New("secret-id")
	value := reflect.ValueOf(s).Elem().Interface() // vet refuses to copy it
	for name, v := range map[string]any{
		"pointer":          s,
		"value":            value,
		"in a struct":      struct{ S *Session }{s},
		"value in a slice": []any{value},
		"value in a map":   map[string]any{"s": value},
		"pointer in a map": map[string]*Session{"s": s},
		"embedded":         struct{ *Session }{s},
	} {
		encoded, err := json.Marshal(v)
		require.ErrorIs(t, err, errors.ErrUnsupported, name)
		require.Empty(t, encoded, name)
	}
	for name, v := range map[string]any{"nil": (*Session)(nil), "nil in a slice": []*Session{nil}[0]} {
		encoded, err := json.Marshal(v)
		require.NoError(t, err, name)
		require.Equal(t, "null", string(encoded), name)
	}
	require.ErrorIs(t, json.Unmarshal([]byte("{}"), new(Session)), errors.ErrUnsupported)
}

func TestWithMetadataReplacesAll(t *testing.T) {
	t.Parallel()
	given := map[string]string{"b": "2", "a": "1", "\xff": "x"}
	before := New("id").With("old", "value")
	s := before.WithMetadata(given)
	given["c"] = "3"
	require.Equal(t, map[string]string{"b": "2", "a": "1", "\uFFFD": "x"}, maps.Collect(s.Metadata()))
	require.Equal(t, map[string]string{"old": "value"}, maps.Collect(before.Metadata()))
	require.Equal(t, before.With("k", "v").Without("old").Without("k").Record().Metadata,
		before.WithMetadata(nil).Record().Metadata)
	require.Empty(t, s.WithMetadata(map[string]string{}).Record().Metadata)
}

func TestIdleTimeoutIsExpressible(t *testing.T) {
	t.Parallel()
	longest := time.Duration(math.MaxInt64).Truncate(time.Millisecond)
	for in, want := range map[time.Duration]time.Duration{
		0: 0, NoIdleTimeout: NoIdleTimeout, -time.Hour: NoIdleTimeout, math.MinInt64: NoIdleTimeout,
		1: time.Millisecond, time.Millisecond: time.Millisecond, time.Millisecond + 1: 2 * time.Millisecond,
		time.Hour: time.Hour, longest: longest, math.MaxInt64: longest,
	} {
		s := New("id").WithIdleTimeout(in)
		require.Equal(t, want, s.IdleTimeout())
		require.Equal(t, want, FromRecord(Record{IdleTimeout: in}).IdleTimeout())
		require.Equal(t, want, s.With("k", "v").Record().IdleTimeout)
	}
}

func FuzzPrincipal(f *testing.F) {
	f.Add("https://issuer.example", "user-1", "https://issuer.example user-1", "")
	f.Add("a", "b c", "a b", "c")
	f.Add("a%20b", "c", "a b", "c")
	f.Add("\xff", "", "\uFFFD", "")
	f.Fuzz(func(t *testing.T, issuer1, subject1, issuer2, subject2 string) {
		one, other := Principal(issuer1, subject1), Principal(issuer2, subject2)
		require.Equal(t, issuer1 == issuer2 && subject1 == subject2, one == other)
		require.Equal(t, one, New("id").WithPrincipal(one).Principal(), "no storage changes it")
		issuer, subject, ok := strings.Cut(one, " ")
		require.True(t, ok)
		for part, want := range map[*string]string{&issuer: issuer1, &subject: subject1} {
			got, err := url.PathUnescape(*part)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
}

func TestPrincipal(t *testing.T) {
	t.Parallel()
	require.Equal(t, "https://issuer.example/a%20b 50%25|%C3%A9%00", Principal("https://issuer.example/a b", "50%|é\x00"))
	require.Equal(t, " ", Principal("", ""))
}

func TestMaxLifetimeOfASession(t *testing.T) {
	t.Parallel()
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when a bubble begins
	at := func(created, expires time.Time) *Session {
		return FromRecord(Record{ID: "id", CreatedAt: created, ExpiresAt: expires})
	}
	for name, test := range map[string]struct {
		s        *Session
		lifetime time.Duration
		want     time.Time
	}{
		"none":                 {at(now, time.Time{}), 0, time.Time{}},
		"created earlier":      {at(now.Add(-time.Minute), time.Time{}), time.Hour, now.Add(59 * time.Minute)},
		"created in future":    {at(now.Add(time.Minute), time.Time{}), time.Hour, now.Add(time.Hour)},
		"created at no time":   {at(time.Time{}, time.Time{}), time.Hour, now.Add(time.Hour)},
		"has a later end":      {at(now, now.Add(2*time.Hour)), time.Hour, now.Add(2 * time.Hour)},
		"has an earlier end":   {at(now, now.Add(time.Minute)), time.Hour, now.Add(time.Minute)},
		"longer than any time": {at(now, time.Time{}), math.MaxInt64, now.Add(math.MaxInt64).Truncate(time.Microsecond)},
	} {
		synctest.Test(t, func(t *testing.T) {
			Stamp(test.s, 7)
			limited := test.s.limited(test.lifetime)
			require.Equal(t, test.want, limited.ExpiresAt(), name)
			require.EqualValues(t, 7, limited.Revision(), name)
			time.Sleep(time.Second)
			if test.lifetime > 0 {
				require.Same(t, limited, limited.limited(test.lifetime), "%s: once it has an end, that stays", name)
			}
		})
	}
}

func TestLifetimeThatIsRefused(t *testing.T) {
	t.Parallel()
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		s              *Session
		isNew          error
		hasBeenStored  error
		reasonOfTheNew string
	}{
		"usual":             {New("id"), nil, nil, ""},
		"ends":              {New("id").WithExpiresAt(future), nil, nil, ""},
		"ends only then":    {New("id").WithExpiresAt(future).WithIdleTimeout(NoIdleTimeout), nil, nil, ""},
		"has ended":         {New("id").WithExpiresAt(past), ErrLifetime, ErrNotFound, "its ExpiresAt has passed"},
		"would never end":   {New("id").WithIdleTimeout(NoIdleTimeout), ErrLifetime, ErrLifetime, "it would never end"},
		"both, and its end": {New("id").WithIdleTimeout(-1).WithExpiresAt(past), ErrLifetime, ErrNotFound, "has passed"},
	} {
		err := checkLifetime("store", test.s, true)
		require.ErrorIs(t, err, test.isNew, name)
		require.ErrorIs(t, checkLifetime("store", test.s, false), test.hasBeenStored, name)
		if err != nil {
			require.ErrorContains(t, err, "session: store: invalid lifetime: ")
			require.ErrorContains(t, err, test.reasonOfTheNew, name)
		}
	}
}
