package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// headerWith returns the header of a value of a revision, with nothing else in it.
func headerWith(revision uint64) string {
	nothing := listing{times: Lifetime{}.text(), owner: noOwner, stamp: noStamp}
	return string(rune(valueVersion)) + revisionText(revision) + noRevision + afterRevisions(0, nothing)
}

func TestValueLayout(t *testing.T) {
	t.Parallel()
	m, s, _ := onMiniredis(t)
	stored := func() string {
		value, err := m.Get(s.key(testID))
		require.NoError(t, err)
		return value
	}
	first := put(t, s, testID)
	token := stored()[33:49]
	require.Equal(t, "2"+revisionText(first)+noRevision+token+strings.Repeat("0", 72)+"data", stored())
	require.Regexp(t, "^[0-9a-f]{16}$", token)

	second, err := s.Put(t.Context(), testID, Write{
		Data: []byte("more"), Condition: IfRevision(first),
		Lifetime: Lifetime{Idle: 0xbad * time.Millisecond, End: time.UnixMilli(0xc0ffee00000)},
	})
	require.NoError(t, err)
	require.NotEqual(t, token, stored()[33:49])
	token = stored()[33:49]
	require.Equal(t, "2"+revisionText(second)+revisionText(first)+token+
		"000000000bad"+"0c0ffee00000"+strings.Repeat("0", 48)+"more", stored())
	v, err := parseValue([]byte(stored()))
	require.NoError(t, err)
	require.Equal(t, Value{[]byte("more"), second}, v)
	require.Len(t, headerWith(second), headerLength)
}

func FuzzParseValue(f *testing.F) {
	f.Add(headerWith(5) + `{"id":"id"}`)
	f.Add(headerWith(maxRevision))
	f.Add(headerWith(maxRevision + 1))
	f.Add("2")
	f.Add("3" + strings.Repeat("0", headerLength) + "{}")
	f.Fuzz(func(t *testing.T, value string) {
		v, err := parseValue([]byte(value))
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			require.Zero(t, v)
			return
		}
		require.Equal(t, value[:1+revisionLength], headerWith(v.Revision)[:1+revisionLength])
		require.Equal(t, value[headerLength:], string(v.Data))
		require.NotZero(t, v.Revision)
		require.LessOrEqual(t, v.Revision, uint64(maxRevision))
	})
}
