package requeststate

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// equals are values in several spellings. Two that are in different lists are different values.
var equals = [][]string{
	{``, `null`, `{}`, " {\t}\r\n", ` null `},
	{`[]`, `[ ]`},
	{`""`},
	{`false`},
	{`true`},
	{`0`, `-0`, `0.0`, `0e5`, `-0.000E-7`, `0e000000000000000000001`},
	{`1`, `1.0`, `1e0`, `1E+0`, `10e-1`, `0.1e1`, `0.01e2`, `1.000e-0`, `1e00000000000000000000`},
	{`-1`, `-1.0`, `-10E-1`},
	{`10`, `1e1`, `1e+1`, `100e-1`},
	{`1e2`, `100`, `100.00`},
	{`0.1`, `1e-1`, `0.10`, `10e-2`},
	{`0.30000000000000004`},
	{`0.3`},
	{`9007199254740992`, `9.007199254740992e15`},
	{`9007199254740993`, `9007199254740993.0`},
	{`1e308`},
	{`1e309`},
	{`1e999999999`, `10e999999998`},
	{`1e-999999999`},
	{`123456789012345678901234567890`, `1.2345678901234567890123456789e29`},
	{`123456789012345678901234567891`},
	{`"a"`, `"\u0061"`},
	{`"A"`, `"\u0041"`},
	{`"é"`, `"\u00e9"`, `"\u00E9"`},
	{`"e` + "\u0301" + `"`}, // é in two characters: to most programs another text
	{`"/"`, `"\/"`, `"\u002f"`, `"\u002F"`},
	{`"\n"`, `"\u000a"`, `"\u000A"`},
	{`"\\n"`},
	{`"\\u000a"`},
	{`"\u0000"`},
	{`"\""`, `"\u0022"`},
	{`"\\"`, `"\u005c"`},
	{`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`},
	{"\"\u2028\"", `"\u2028"`},
	{"\"\uFFFD\"", `"\ufffd"`},
	{"\"\x7f\"", `"\u007f"`},
	{`"1"`},
	{`"null"`},
	{`[null]`},
	{`[{}]`},
	{`[[]]`},
	{`[1,2]`, ` [ 1.0 , 2e0 ] `},
	{`[2,1]`},
	{`[12]`},
	{`["1,2"]`},
	{`["1","2"]`},
	{`{"a":null}`},
	{`{"a":{}}`},
	{`{"":1}`},
	{`{"a":1,"b":2}`, `{"b":2,"a":1}`, ` { "b" : 2.0 , "\u0061" : 1 } `},
	{`{"a":2,"b":1}`},
	{`{"a":1,"b":{"c":[{"e":5,"d":4}],"f":"x"}}`, `{"b":{"f":"x","c":[{"d":4,"e":5}]},"a":1}`},
	{`{"a:1,b":2}`},
	{`{"a\":1,\"b":2}`},
	{`{"A":1,"b":2}`},
	{`{"ab":1}`},
	{`{"10":1,"9":2}`, `{"9":2,"10":1}`},
}

func TestEqualValues(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, group := range equals {
		first, err := canonical([]byte(group[0]))
		require.NoError(t, err, group[0])
		require.NotContains(t, seen, string(first), "%s is not %s", group[0], seen[string(first)])
		seen[string(first)] = group[0]
		for _, spelling := range group {
			got, err := canonical([]byte(spelling))
			require.NoError(t, err, spelling)
			require.Equal(t, string(first), string(got), "%s is %s", spelling, group[0])
			again, err := canonical(got)
			require.NoError(t, err, spelling)
			require.Equal(t, got, again, "the form of %s is JSON in that form", spelling)
		}
	}
}

func TestRefusedArguments(t *testing.T) {
	t.Parallel()
	nested := func(levels int) string {
		return strings.Repeat(`[{"a":`, levels/2) + "1" + strings.Repeat(`}]`, levels/2)
	}
	for _, test := range []struct {
		err  error
		data []string
	}{
		{errNotUTF8, []string{"\"\xff\"", "{\"a\xc3\":1}", "\xef\xbb\xbf{}\xff", "\"\xed\xa0\x80\""}},
		{errSameName, []string{
			`{"a":1,"a":1}`, `{"a":1,"b":2,"a":3}`, `{"a":1,"\u0061":2}`, `{"b":{"c":[{"a":1,"a":2}]}}`, `{"":1,"":2}`,
			`{"amount":1,"Amount":2}`, `{"K":1,"k":2}`, "{\"\u212a\":1,\"k\":2}", "{\"\u017f\":1,\"S\":2}", `{"É":1,"\u00e9":2}`,
		}},
		{errSurrogate, []string{
			`"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\u0041"`, `"\ude00\ud83d"`, `{"\ud800":1}`,
		}},
		{errExponent, []string{`1e1000000000`, `1e-1000000000`, `[1E+99999999999999999999999]`, `0e1000000000`}},
		{errDepth, []string{nested(102), strings.Repeat("[", 1_000_000), strings.Repeat(`{"a":`, 1_000_000)}},
		{errNotJSON, []string{
			` `, `{`, `}`, `[`, `]`, `"`, `"\`, `"\u`, `"\u12`, `"\u12g4"`, `"\x41"`, "\"\n\"", "\"\x00\"", `'a'`,
			`{} {}`, `{},`, `1 2`, `nul`, `nullx`, `True`, `NaN`, `Infinity`, `-Infinity`, `undefined`,
			`01`, `-`, `-a`, `+1`, `.5`, `1.`, `1.e5`, `1e`, `1e+`, `0x10`, `1_000`, `--1`, `00`,
			`[1,]`, `[,1]`, `[1 2]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{1:1}`, `{,}`, `{"a":1 "b":2}`,
			`// x`, `{}/**/`, "\u00a0{}", "\ufeff{}", `"\u00` + "\x10\x10" + `"`,
		}},
	} {
		for _, data := range test.data {
			got, err := canonical([]byte(data))
			require.Equal(t, test.err, err, "%.50q", data)
			require.Nil(t, got)
		}
	}
	_, err := canonical([]byte(nested(100)))
	require.NoError(t, err)
}

// TestCanonicalIsCheap has input that costs a naive reader minutes, or all memory.
func TestCanonicalIsCheap(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	var names strings.Builder
	names.WriteString(`{"x":0`)
	for i := range size / 16 {
		names.WriteString(`,"` + strings.Repeat("y", i%7) + big.NewInt(int64(i)).String() + `":0`)
	}
	names.WriteString(`}`)
	for name, data := range map[string]string{
		"exponent": "[" + strings.TrimSuffix(strings.Repeat("1e999999999,", size/12), ",") + "]",
		"digits":   strings.Repeat("9", size) + "." + strings.Repeat("9", size),
		"zeros":    "1" + strings.Repeat("0", size),
		"escapes":  `"` + strings.Repeat(`\u0000`, size/6) + `"`,
		"members":  names.String(),
		"levels":   strings.Repeat(`{"a":[`, 50) + `"` + strings.Repeat("x", size) + `"` + strings.Repeat(`]}`, 50),
	} {
		start := time.Now()
		_, err := canonical([]byte(data))
		require.NoError(t, err, name)
		require.Less(t, time.Since(start), 20*time.Second, name)
	}
}

// FuzzCanonical compares canonical with encoding/json and math/big.
func FuzzCanonical(f *testing.F) {
	for _, group := range equals {
		f.Add([]byte(group[0]), []byte(group[len(group)-1]))
	}
	f.Add([]byte(`{"a":1,"A":2}`), []byte(`"\ud800"`))
	f.Add([]byte(`1e400`), []byte(`10e399`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, err := canonical(a)
		if err != nil {
			require.False(t, errors.Is(err, errNotJSON) && json.Valid(a), "%q", a)
			return
		}
		require.True(t, len(a) == 0 || json.Valid(a), "%q", a)
		require.True(t, utf8.Valid(first) && json.Valid(first), "%q", first)
		again, err := canonical(first)
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
		require.True(t, same(decoded(t, a), decoded(t, first)), "%q is not %q", first, a)

		second, err := canonical(b)
		if err == nil {
			require.Equal(t, same(decoded(t, a), decoded(t, b)), string(first) == string(second), "%q and %q", a, b)
		}
	})
}

// decoded returns a value as encoding/json understands it, with numbers as they are written.
func decoded(t *testing.T, data []byte) any {
	if len(data) == 0 {
		return map[string]any{}
	}
	in := json.NewDecoder(strings.NewReader(string(data)))
	in.UseNumber()
	var value any
	require.NoError(t, in.Decode(&value))
	if value == nil {
		return map[string]any{}
	}
	return value
}

// same compares two values. Numbers are compared as they are defined, without the code under test.
func same(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name := range a {
			other, ok := b[name]
			if !ok || !same(a[name], other) {
				return false
			}
		}
		return true
	}
	return a == b
}

func sameNumber(a, b string) bool {
	huge := func(number string) bool {
		_, exponent, _ := strings.Cut(strings.ToLower(number), "e")
		return len(strings.TrimLeft(exponent, "+-0")) > 3
	}
	if huge(a) || huge(b) { // math/big would write out its zeros
		x, y := decimal(a), decimal(b)
		return x.coefficient.Cmp(y.coefficient) == 0 && (x.coefficient.Sign() == 0 || x.exponent.Cmp(y.exponent) == 0)
	}
	x, _ := new(big.Rat).SetString(a)
	y, _ := new(big.Rat).SetString(b)
	return x.Cmp(y) == 0
}

type decimalNumber struct{ coefficient, exponent *big.Int }

func decimal(number string) decimalNumber {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d := decimalNumber{new(big.Int), new(big.Int)}
	d.coefficient.SetString(whole+fraction, 10)
	if exponent != "" {
		d.exponent.SetString(strings.TrimPrefix(exponent, "+"), 10)
	}
	d.exponent.Sub(d.exponent, big.NewInt(int64(len(fraction))))
	ten := big.NewInt(10)
	for d.coefficient.Sign() != 0 {
		quotient, remainder := new(big.Int).QuoRem(d.coefficient, ten, new(big.Int))
		if remainder.Sign() != 0 {
			break
		}
		d.coefficient = quotient
		d.exponent.Add(d.exponent, big.NewInt(1))
	}
	return d
}
