package redisstore

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/seed34611480/session/internal/errs"
)

// Value is what is stored under an id. Each write gives it a higher revision.
type Value struct {
	Data     []byte
	Revision uint64
}

// A value is stored as a header and its data. The header is a version digit and the revision in 16 hex digits; scripts
// compare it as text.
const (
	valueVersion   = '1'
	revisionLength = 16
	headerLength   = 1 + revisionLength
)

// maxRevision is what a Lua number holds exactly. Revisions are microseconds since 1970, which fit until the year 2112.
const maxRevision = 1<<52 - 1

var (
	errTruncated      = errs.Because("the value is too short", ErrCorrupt)
	errUnknownVersion = errs.Because("the value has an unknown format version", ErrCorrupt)
	errBadRevision    = errs.Because("the value has no revision", ErrCorrupt)
	errAnotherType    = errs.Because("it is not a string", ErrCorrupt)
)

func header(revision uint64) string {
	var digits [revisionLength / 2]byte
	binary.BigEndian.PutUint64(digits[:], revision)
	text := [headerLength]byte{valueVersion}
	hex.Encode(text[1:], digits[:])
	return string(text[:])
}

// parseValue does not copy the data.
func parseValue(stored []byte) (Value, error) {
	if len(stored) == 0 {
		return Value{}, errTruncated
	}
	if stored[0] != valueVersion {
		return Value{}, errUnknownVersion
	}
	if len(stored) < headerLength {
		return Value{}, errTruncated
	}
	revision, ok := parseRevision(string(stored[1:headerLength]))
	if !ok {
		return Value{}, errBadRevision
	}
	return Value{Data: stored[headerLength:], Revision: revision}, nil
}

// parseRevision accepts only what header writes: scripts compare revisions as text.
func parseRevision(text string) (uint64, bool) {
	if len(text) != revisionLength || strings.ContainsAny(text, "ABCDEF") {
		return 0, false
	}
	revision, err := strconv.ParseUint(text, 16, 64)
	return revision, err == nil && revision > 0 && revision <= maxRevision
}
