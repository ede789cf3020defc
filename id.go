package session

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/seed34611480/session/internal/errs"
)

const maxIDLength = 4096

// NewID returns a fresh random id: at least 128 bits from the operating system's secure source, in visible ASCII. It is
// safe for concurrent use.
func NewID() string { return rand.Text() }

// ValidateID returns nil if id is 1 to 4,096 bytes of visible ASCII (0x21 to 0x7E), which is what the Model Context
// Protocol allows in its session header; some MCP servers make ids of kilobytes. Otherwise the error matches
// [ErrInvalidID], and says which rule the id breaks, without the id. Storages check ids before anything else.
func ValidateID(id string) error {
	switch {
	case id == "":
		return opErrBecause("", ErrInvalidID, errs.Reason("it is empty"))
	case len(id) > maxIDLength:
		return opErrBecause("", ErrInvalidID, errs.Reason("%d bytes, the limit is %d", len(id), maxIDLength))
	}
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7E {
			return opErrBecause("", ErrInvalidID, errs.Reason("byte %d of %d is not visible ASCII", i+1, len(id)))
		}
	}
	return nil
}

// checkCall begins every call of a storage on a single id.
func checkCall(ctx context.Context, op, id string) error {
	if err := ValidateID(id); err != nil {
		return opErr(op, err)
	}
	if err := ctx.Err(); err != nil {
		return opErr(op, err)
	}
	return nil
}

func checkSession(ctx context.Context, op string, s *Session) error {
	if s == nil {
		return opErrBecause(op, ErrInvalidID, errNilSession)
	}
	return checkCall(ctx, op, s.id)
}

// Principal returns the owner that an issuer of tokens and its name of a user make, for [Session.WithPrincipal]. Two
// different pairs never make the same owner, whatever bytes they are of: each byte that is no visible ASCII, each space
// and each "%" becomes "%" and two hex digits, and a space stands between issuer and subject.
func Principal(issuer, subject string) string {
	b := make([]byte, 0, len(issuer)+1+len(subject))
	b = append(appendEscaped(b, issuer), ' ')
	return string(appendEscaped(b, subject))
}

func appendEscaped(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '%' {
			b = fmt.Appendf(b, "%%%02X", c)
		} else {
			b = append(b, c)
		}
	}
	return b
}
