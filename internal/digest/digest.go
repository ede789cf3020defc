// Package digest makes one fixed-size value of several texts.
package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Size is the number of bytes of a digest.
const Size = sha256.Size

// Of returns the SHA-256 of texts. The length of each is part of what is hashed, so no two lists of texts have the same
// digest: not ("a", "bc") and ("ab", "c") either. label separates the purposes for which digests are made.
func Of(label string, texts ...string) [Size]byte {
	size := 8 + len(label)
	for _, text := range texts {
		size += 8 + len(text)
	}
	b := appendText(make([]byte, 0, size), label)
	for _, text := range texts {
		b = appendText(b, text)
	}
	return sha256.Sum256(b)
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(text))), text...)
}

// Hex is Of in hex.
func Hex(label string, texts ...string) string {
	sum := Of(label, texts...)
	return hex.EncodeToString(sum[:])
}
