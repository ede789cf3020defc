package redisstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValueLayout(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	revision, err := s.Put(t.Context(), testID, []byte("data"), Always, noEnd)
	require.NoError(t, err)
	value, err := m.Get(s.key(testID))
	require.NoError(t, err)
	require.Regexp(t, `^1[0-9a-f]{16}data$`, value)
	require.Equal(t, header(revision), value[:headerLength])
	v, err := parseValue([]byte(value))
	require.NoError(t, err)
	require.Equal(t, Value{[]byte("data"), revision}, v)
}

func FuzzParseValue(f *testing.F) {
	f.Add(header(5) + `{"id":"id"}`)
	f.Add(header(maxRevision))
	f.Add(header(maxRevision + 1))
	f.Add("1")
	f.Add("2" + strings.Repeat("0", 16) + "{}")
	f.Fuzz(func(t *testing.T, value string) {
		v, err := parseValue([]byte(value))
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			require.Zero(t, v)
			return
		}
		require.Equal(t, value, header(v.Revision)+string(v.Data))
		require.NotZero(t, v.Revision)
		require.LessOrEqual(t, v.Revision, uint64(maxRevision))
	})
}
