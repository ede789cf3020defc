package redisstore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed34611480/session/internal/errs"
)

// Value is what is stored under an id. Each write gives it a higher revision.
type Value struct {
	Data     []byte
	Revision uint64
}

// A value is stored as a header and its data. The header has a fixed width, so that scripts read it with GETRANGE. It
// is the version of the layout, one digit, and then in lower-case hex digits:
//
//	revision  16  what this write gave the value; not 0
//	replaced  16  the revision that was stored before this write; 0: none
//	token     16  random, chosen by the writer: it finds its own write with it, see settle.go
//	idle      12  how long the value lives without a use, in milliseconds; 0: the store's TTL; the largest: for ever
//	end       12  when the value is gone in any case, in milliseconds since 1970; 0: never
//	owner     32  a hash of the value's owner; 0: none
//	listed    16  until when the owner's index lists the value, in microseconds since 1970; 0: there is no owner
const (
	valueVersion   = '2'
	revisionLength = 16
	tokenLength    = 16
	headerLength   = stampAt + stampLength
)

const (
	maxRevision = 1<<52 - 1 // what a Lua number holds exactly: microseconds since 1970 fit until the year 2112
	maxTime     = 1<<48 - 1 // milliseconds: the year 10889
)

// noRevision stands where there is no value.
const noRevision = "0000000000000000"

var (
	errTruncated      = errs.Because("the value is too short", ErrCorrupt)
	errUnknownVersion = errs.Because("the value has an unknown format version", ErrCorrupt)
	errBadHeader      = errs.Because("the value has a damaged header", ErrCorrupt)
	errAnotherType    = errs.Because("it is not a string", ErrCorrupt)
)

// revisionText is how headers, conditions and events hold a revision.
func revisionText(revision uint64) string { return fmt.Sprintf("%0*x", revisionLength, revision) }

// afterRevisions returns the part of a new header that its writer knows before the script runs: all that follows the
// two revisions.
func afterRevisions(token uint64, l listing) string {
	return fmt.Sprintf("%0*x%s%s%s", tokenLength, token, l.times, l.owner, l.stamp)
}

// newToken returns what tells a write from every other one of the same id.
func newToken() uint64 {
	var token [tokenLength / 2]byte
	_, _ = rand.Read(token[:]) // never fails
	return binary.BigEndian.Uint64(token[:])
}

// parseValue does not copy the data. It accepts the headers that scripts/header.lua accepts.
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
	header, data := string(stored[1:headerLength]), stored[headerLength:]
	revision, ok := parseRevision(header[:revisionLength])
	if !ok || strings.Trim(header, "0123456789abcdef") != "" {
		return Value{}, errBadHeader
	}
	return Value{Data: data, Revision: revision}, nil
}

// parseRevision accepts only what revisionText writes: scripts compare revisions as text.
func parseRevision(text string) (uint64, bool) {
	if len(text) != revisionLength || strings.ContainsAny(text, "ABCDEF") {
		return 0, false
	}
	revision, err := strconv.ParseUint(text, 16, 64)
	return revision, err == nil && revision > 0 && revision <= maxRevision
}
