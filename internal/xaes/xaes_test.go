package xaes

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPublishedVectors has those of https://c2sp.org/XAES-256-GCM. The first bit of L is 0 in the first one, 1 in the
// second.
func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key                byte
		additional, sealed string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		sealed, err := hex.DecodeString(test.sealed)
		require.NoError(t, err)
		plain, err := New(bytes.Repeat([]byte{test.key}, KeySize)).
			Open(append([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"), sealed...), []byte(test.additional))
		require.NoError(t, err)
		require.Equal(t, "XAES-256-GCM", string(plain))
	}
}

// TestAccumulatedVectors is the randomized test of the specification.
func TestAccumulatedVectors(t *testing.T) {
	t.Parallel()
	random, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	next := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(random, b)
		return b
	}
	text := func() []byte { return next(int(next(1)[0])) }
	for range 10_000 {
		k, nonce := New(next(KeySize)), next(2*halfSize)
		plain, additional := text(), text()
		subkey := k.derive(nonce[:halfSize])
		block, err := aes.NewCipher(subkey[:])
		require.NoError(t, err)
		gcm, err := cipher.NewGCM(block)
		require.NoError(t, err)
		sealed := gcm.Seal(nil, nonce[halfSize:], plain, additional)
		_, _ = sum.Write(sealed)
		opened, err := k.Open(append(nonce, sealed...), additional)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, opened))
	}
	got := make([]byte, 32)
	_, _ = io.ReadFull(sum, got)
	require.Equal(t, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939", hex.EncodeToString(got))
}

func TestSealedMessagesDiffer(t *testing.T) {
	t.Parallel()
	k := New(bytes.Repeat([]byte{1}, KeySize))
	seen := make(map[string]bool)
	for range 1000 {
		sealed := k.Seal([]byte("x"), []byte("message"), []byte("additional"))
		require.Len(t, sealed, 1+len("message")+Overhead)
		require.Equal(t, byte('x'), sealed[0], "it is appended")
		for _, nonce := range []string{string(sealed[1 : 1+halfSize]), string(sealed[1+halfSize : 1+2*halfSize])} {
			require.False(t, seen[nonce], "both halves of the nonce are random")
			seen[nonce] = true
		}
		plain, err := k.Open(sealed[1:], []byte("additional"))
		require.NoError(t, err)
		require.Equal(t, "message", string(plain))
	}
}

func TestAlteredMessageIsRefused(t *testing.T) {
	t.Parallel()
	k := New(bytes.Repeat([]byte{1}, KeySize))
	sealed := k.Seal(nil, []byte("message"), []byte("additional"))
	for i := range 8 * len(sealed) {
		altered := bytes.Clone(sealed)
		altered[i/8] ^= 1 << (i % 8)
		_, err := k.Open(altered, []byte("additional"))
		require.Error(t, err, "bit %d", i)
	}
	for n := range sealed {
		_, err := k.Open(sealed[:n], []byte("additional"))
		require.Error(t, err, "%d bytes", n)
	}
	_, err := k.Open(sealed, []byte("Additional"))
	require.Error(t, err)
	_, err = New(bytes.Repeat([]byte{2}, KeySize)).Open(sealed, []byte("additional"))
	require.Error(t, err)
	require.Panics(t, func() { New(make([]byte, 16)) })
}

// BenchmarkSeal has a row for AES-256-GCM with one key for all messages, for comparison.
func BenchmarkSeal(b *testing.B) {
	key, plain := bytes.Repeat([]byte{1}, KeySize), make([]byte, 1024)
	block, err := aes.NewCipher(key)
	require.NoError(b, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	require.NoError(b, err)
	k := New(key)
	for name, f := range map[string]func(dst []byte) []byte{
		"xaes": func(dst []byte) []byte { return k.Seal(dst, plain, nil) },
		"gcm":  func(dst []byte) []byte { return gcm.Seal(dst, nil, plain, nil) },
	} {
		b.Run("of="+name, func(b *testing.B) {
			dst := make([]byte, 0, len(plain)+Overhead)
			b.ReportAllocs()
			for b.Loop() {
				f(dst)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	k := New(bytes.Repeat([]byte{1}, KeySize))
	sealed := k.Seal(nil, make([]byte, 1024), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(sealed, nil); err != nil {
			b.Fatal(err)
		}
	}
}
