package secrecy

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// secrets finds texts that must not be shown, as they are or encoded, and also a part of one.
type secrets struct {
	names map[string]string // by each window of each form: which secret it is, and in which form
}

// window is how many bytes of a form are enough to tell it from all else.
const window = 12

// add adds a secret of at least window bytes, which must be random.
func (s *secrets) add(name string, secret []byte) {
	if s.names == nil {
		s.names = make(map[string]string)
	}
	for form, text := range formsOf(secret) {
		for i := range len(text) - window + 1 {
			s.names[text[i:i+window]] = name + ", " + form
		}
	}
}

func formsOf(secret []byte) map[string]string {
	numbers := strings.Trim(fmt.Sprintf("%d", secret), "[]")
	forms := map[string]string{
		"as it is": string(secret),
		"lowered":  strings.ToLower(string(secret)),
		"quoted":   strings.Trim(strconv.Quote(string(secret)), `"`),
		"in hex":   hex.EncodeToString(secret),
		"in HEX":   strings.ToUpper(hex.EncodeToString(secret)),
		"numbers":  numbers,
		"list":     strings.ReplaceAll(numbers, " ", ","),
		"array":    strings.ReplaceAll(numbers, " ", ", "),
	}
	encodings := map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding}
	// In base64 a text looks different by where it begins in a group of three bytes. What it shares with others is cut
	// off.
	for shift := range 3 {
		padded := append(bytes.Repeat([]byte{'x'}, shift), secret...)
		padded = padded[:len(padded)/3*3]
		for name, encoding := range encodings {
			text := encoding.EncodeToString(padded)
			if shift > 0 {
				text = text[4:]
			}
			forms[fmt.Sprintf("%s+%d", name, shift)] = text
		}
	}
	return forms
}

// find returns the names of the secrets in a text.
func (s *secrets) find(text string) []string {
	found := make(map[string]struct{})
	for i := range len(text) - window + 1 {
		if name, ok := s.names[text[i:i+window]]; ok {
			found[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// requireNone fails the test if there is a secret in a text.
func (s *secrets) requireNone(t testing.TB, what, text string) {
	t.Helper()
	require.Empty(t, s.find(text), "%s shows secrets", what)
}

func TestSecretsAreFoundInEveryForm(t *testing.T) {
	t.Parallel()
	id, key := session.NewID(), make([]byte, 32)
	_, _ = rand.Read(key)
	var s secrets
	s.add("id", []byte(id))
	s.add("key", key)
	for what, text := range map[string]string{
		"in a sentence": "no session " + id + " is here",
		"cut off":       id[3:20] + "...",
		"%q":            fmt.Sprintf("%q", "a\n"+id),
		"%x":            fmt.Sprintf("%x", "a"+id),
		"%X":            fmt.Sprintf("%X", "a"+id),
		"%v of bytes":   fmt.Sprintf("%v", []byte("ab"+id)),
		"%#v of bytes":  strings.ReplaceAll(fmt.Sprintf("%d", []byte(id)), " ", ", "),
		"base64":        base64.StdEncoding.EncodeToString([]byte(id)),
		"base64 inside": base64.StdEncoding.EncodeToString([]byte("ab" + id + "cd")),
		"base64url":     base64.RawURLEncoding.EncodeToString([]byte("a" + id)),
		"a key":         string(key),
		"a key, %q":     fmt.Sprintf("%q", key),
		"a key, base64": base64.StdEncoding.EncodeToString(key),
	} {
		require.NotEmpty(t, s.find(text), what)
	}
	require.Empty(t, s.find("no session is here "+session.NewID()))
	require.Empty(t, s.find(""))
}
