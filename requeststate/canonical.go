package requeststate

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/seed34611480/session/internal/errs"
)

// canonical returns a form of JSON that is the same for equal values, and only for these. RFC 8785 will not do: it
// rounds numbers to float64, and an attacker could have one account number confirmed and another one used.
//
// The members of an object are sorted, a number is a whole coefficient without a zero at its end and a power of ten,
// and a string has escapes only where JSON requires them. What two decoders may understand differently is refused.
func canonical(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return []byte("{}"), nil
	}
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	in := reader{rest: data}
	in.skipSpace()
	out, err := in.value(make([]byte, 0, len(data)), 0)
	if err != nil {
		return nil, err
	}
	if in.skipSpace(); len(in.rest) > 0 {
		return nil, errNotJSON
	}
	if string(out) == "null" {
		return []byte("{}"), nil
	}
	return out, nil
}

const (
	errNotUTF8   = errs.SafeError("not UTF-8")
	errNotJSON   = errs.SafeError("not JSON")
	errDepth     = errs.SafeError("too many levels")
	errSameName  = errs.SafeError("two members with the same name, but for case")
	errSurrogate = errs.SafeError("half of a surrogate pair")
	errExponent  = errs.SafeError("a number with a huge exponent")
)

const (
	maxDepth          = 100
	maxExponentDigits = 9
)

// reader reads JSON from the front of rest. Its methods append the canonical form of what they read.
type reader struct{ rest []byte }

func (in *reader) skipSpace() {
	for len(in.rest) > 0 && strings.IndexByte(" \t\r\n", in.rest[0]) >= 0 {
		in.rest = in.rest[1:]
	}
}

// skip skips a character and the spaces after it, if the character is next.
func (in *reader) skip(c byte) bool {
	if len(in.rest) == 0 || in.rest[0] != c {
		return false
	}
	in.rest = in.rest[1:]
	in.skipSpace()
	return true
}

func (in *reader) value(out []byte, depth int) ([]byte, error) {
	if len(in.rest) == 0 {
		return nil, errNotJSON
	}
	switch c := in.rest[0]; {
	case c == '"':
		return in.text(out)
	case (c == '{' || c == '[') && depth == maxDepth:
		return nil, errDepth
	case c == '{':
		return in.object(out, depth)
	case c == '[':
		return in.array(out, depth)
	}
	for _, literal := range []string{"null", "true", "false"} {
		if rest, ok := bytes.CutPrefix(in.rest, []byte(literal)); ok {
			in.rest = rest
			return append(out, literal...), nil
		}
	}
	return in.number(out)
}

func (in *reader) array(out []byte, depth int) ([]byte, error) {
	in.skip('[')
	out = append(out, '[')
	if in.skip(']') {
		return append(out, ']'), nil
	}
	for {
		var err error
		if out, err = in.value(out, depth+1); err != nil {
			return nil, err
		}
		in.skipSpace()
		if in.skip(']') {
			return append(out, ']'), nil
		}
		if !in.skip(',') {
			return nil, errNotJSON
		}
		out = append(out, ',')
	}
}

// member is one of an object, as it stands in the output.
type member struct {
	folded     string // its name as decoders see it that do not heed case
	start, end int
}

func (in *reader) object(out []byte, depth int) ([]byte, error) {
	in.skip('{')
	out = append(out, '{')
	start := len(out)
	var members []member
	for more := !in.skip('}'); more; {
		m := member{start: len(out)}
		var err error
		if out, err = in.text(out); err != nil {
			return nil, err
		}
		m.folded = strings.Map(fold, string(out[m.start:]))
		in.skipSpace()
		if !in.skip(':') {
			return nil, errNotJSON
		}
		if out, err = in.value(append(out, ':'), depth+1); err != nil {
			return nil, err
		}
		m.end = len(out)
		members = append(members, m)
		in.skipSpace()
		if more = in.skip(','); !more && !in.skip('}') {
			return nil, errNotJSON
		}
	}
	out, err := sorted(out, start, members)
	if err != nil {
		return nil, err
	}
	return append(out, '}'), nil
}

// sorted puts the members, which follow each other from start on, in order, with commas in between.
func sorted(out []byte, start int, members []member) ([]byte, error) {
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.folded, b.folded) })
	unsorted := slices.Clone(out[start:])
	out = out[:start]
	for i, m := range members {
		if i > 0 {
			if members[i-1].folded == m.folded {
				return nil, errSameName
			}
			out = append(out, ',')
		}
		out = append(out, unsorted[m.start-start:m.end-start]...)
	}
	return out, nil
}

// fold returns the least of the letters that differ from r only in case.
func fold(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}

// text reads a string.
func (in *reader) text(out []byte) ([]byte, error) {
	if len(in.rest) == 0 || in.rest[0] != '"' {
		return nil, errNotJSON
	}
	in.rest = in.rest[1:]
	out = append(out, '"')
	for len(in.rest) > 0 {
		switch c := in.rest[0]; {
		case c == '"':
			in.rest = in.rest[1:]
			return append(out, '"'), nil
		case c < ' ':
			return nil, errNotJSON
		case c == '\\':
			r, err := in.escape()
			if err != nil {
				return nil, err
			}
			out = appendRune(out, r)
		default:
			out = append(out, c)
			in.rest = in.rest[1:]
		}
	}
	return nil, errNotJSON
}

// escape reads an escape sequence, or the two of a surrogate pair.
func (in *reader) escape() (rune, error) {
	if len(in.rest) < 2 {
		return 0, errNotJSON
	}
	if i := strings.IndexByte(`"\/bfnrt`, in.rest[1]); i >= 0 {
		in.rest = in.rest[2:]
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	r, ok := in.unicodeEscape()
	if !ok {
		return 0, errNotJSON
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	low, ok := in.unicodeEscape()
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, errSurrogate
	}
	return r, nil
}

// unicodeEscape reads \u and four hex digits.
func (in *reader) unicodeEscape() (rune, bool) {
	const size = len(`\u0000`)
	if len(in.rest) < size || in.rest[0] != '\\' || in.rest[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range in.rest[2:size] {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' { // |0x20 makes digits of some control characters
			return 0, false
		}
		r = r<<4 | rune(digit) //nolint:gosec // less than 16
	}
	in.rest = in.rest[size:]
	return r, true
}

// appendRune appends a character of a string as it stands in the canonical form.
func appendRune(out []byte, r rune) []byte {
	const hexDigits = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r < ' ':
		return append(out, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
	}
	return utf8.AppendRune(out, r)
}

// number reads a number. It never computes it, so an exponent costs nothing.
func (in *reader) number(out []byte) ([]byte, error) {
	negative := in.take("-") != ""
	whole := in.digits()
	if whole == "" || whole[0] == '0' && len(whole) > 1 {
		return nil, errNotJSON
	}
	var fraction string
	if in.take(".") != "" {
		if fraction = in.digits(); fraction == "" {
			return nil, errNotJSON
		}
	}
	exponent, err := in.exponent()
	if err != nil {
		return nil, err
	}
	exponent -= len(fraction)
	coefficient := strings.TrimLeft(whole+fraction, "0")
	if coefficient == "" {
		return append(out, '0'), nil // -0, too
	}
	significant := strings.TrimRight(coefficient, "0")
	exponent += len(coefficient) - len(significant)
	if negative {
		out = append(out, '-')
	}
	out = append(out, significant...)
	if exponent != 0 {
		out = strconv.AppendInt(append(out, 'e'), int64(exponent), 10)
	}
	return out, nil
}

// exponent reads that of a number, if it has one.
func (in *reader) exponent() (int, error) {
	if in.take("eE") == "" {
		return 0, nil
	}
	sign := in.take("+-")
	digits := in.digits()
	if digits == "" {
		return 0, errNotJSON
	}
	if digits = strings.TrimLeft(digits, "0"); len(digits) > maxExponentDigits {
		return 0, errExponent
	}
	exponent, _ := strconv.Atoi("0" + digits)
	if sign == "-" {
		exponent = -exponent
	}
	return exponent, nil
}

// take reads one of the characters, or nothing.
func (in *reader) take(characters string) string {
	if len(in.rest) == 0 || strings.IndexByte(characters, in.rest[0]) < 0 {
		return ""
	}
	taken := string(in.rest[:1])
	in.rest = in.rest[1:]
	return taken
}

func (in *reader) digits() string {
	n := 0
	for n < len(in.rest) && in.rest[n] >= '0' && in.rest[n] <= '9' {
		n++
	}
	digits := string(in.rest[:n])
	in.rest = in.rest[n:]
	return digits
}
