package digest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListsOfTextsDiffer(t *testing.T) {
	t.Parallel()
	lists := [][]string{
		{"l"},
		{"l", ""},
		{"l", "", ""},
		{"", "l"},
		{"l", "abc"},
		{"l", "a", "bc"},
		{"l", "ab", "c"},
		{"l", "abc", ""},
		{"l", "", "abc"},
		{"l", "bc", "a"},
		{"la", "bc"},
		{"l", "abc\x00"},
		{"l", "a\x00bc"},
		{"l", "\x00\x00\x00\x00\x00\x00\x00\x01a"},
	}
	seen := make(map[string][]string)
	for _, list := range lists {
		sum := Hex(list[0], list[1:]...)
		require.Len(t, sum, 2*Size)
		require.NotContains(t, seen, sum, "%q and %q", list, seen[sum])
		seen[sum] = list
	}
}
