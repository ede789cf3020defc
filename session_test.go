package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
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
	require.ErrorContains(t, New("id").Decode(&v), "session: decode data")
	require.Nil(t, New("id").Data())
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
