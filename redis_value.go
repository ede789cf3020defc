package session

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// The layout of a stored value: a version digit and 16 hex digits of revision, which the scripts compare as they stand,
// and the encoded session.
const (
	valueVersion = '1'
	headerLength = 1 + 16
)

// maxRevision keeps revisions, microseconds since 1970, within what a Lua number holds exactly.
const maxRevision = 1<<52 - 1

var (
	errTruncated      = errors.New("the value is too short")
	errUnknownVersion = errors.New("the value has an unknown format version")
	errBadRevision    = errors.New("the value has no revision")
)

func header(revision uint64) string {
	return string(hex.AppendEncode([]byte{valueVersion}, binary.BigEndian.AppendUint64(nil, revision)))
}

func splitValue(value []byte) (revision uint64, data []byte, err error) {
	if len(value) == 0 {
		return 0, nil, errTruncated
	}
	if value[0] != valueVersion {
		return 0, nil, errUnknownVersion
	}
	if len(value) < headerLength {
		return 0, nil, errTruncated
	}
	revision, ok := parseRevision(string(value[1:headerLength]))
	if !ok {
		return 0, nil, errBadRevision
	}
	return revision, value[headerLength:], nil
}

// parseRevision accepts only what header writes: revisions are compared as text.
func parseRevision(text string) (uint64, bool) {
	if len(text) != headerLength-1 || strings.ContainsAny(text, "ABCDEF") {
		return 0, false
	}
	revision, err := strconv.ParseUint(text, 16, 64)
	return revision, err == nil && revision > 0 && revision <= maxRevision
}
