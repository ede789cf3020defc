package sessiontest

import (
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/seed34611480/session"
)

var inputCases = []testCase{
	{"InvalidID", invalidID},
	{"NastyID", nastyID},
	{"TooLarge", tooLarge},
	{"Large", large},
}

// invalidID: every operation refuses an invalid id, with an error that does not repeat it.
func invalidID(e *env) {
	const mark = "id-5c1e7d" // part of every id below, so that an error that repeats one can be recognized
	e.secret(mark)
	for name, id := range map[string]string{
		"4,097 bytes":   mark + strings.Repeat("x", 4097-len(mark)),
		"64 KiB":        mark + strings.Repeat("x", 1<<16),
		"space":         mark + " x",
		"only a space":  " ",
		"trailing tab":  mark + "\t",
		"newline":       mark + "\nSET",
		"CRLF":          mark + "\r\nSet-Cookie: x",
		"NUL":           mark + "\x00",
		"DEL":           mark + "\x7f",
		"accent":        mark + "é",
		"fullwidth":     mark + "Ａ",
		"invalid UTF-8": mark + "\xff",
		"empty":         "",
	} {
		for _, op := range append(e.reads(), e.writes()...) {
			e.fails(op.name+", id with "+name, op.call(e.ctx, session.New(id)), session.ErrInvalidID)
		}
	}
	for _, op := range e.writes() {
		e.fails(op.name+" of a nil session", op.call(e.ctx, nil), session.ErrInvalidID)
		e.fails(op.name+" of a zero session", op.call(e.ctx, new(session.Session)), session.ErrInvalidID)
	}
}

// nastyIDs are all legal, but each means something special to some storage that is not careful.
var nastyIDs = []string{
	"*", "?", "[a-z]*", "[^*]", "a*", "{a}{b}", "{}", "a:b:c", "session:x", "a", "A", "a/b", "/", "//", ".", "..",
	"../../../etc/passwd", "a/../b", `C:\x`, "a%2Fb", "%00", "%s%d%n", "+", "a&b=c", "?x=1#y", "~", "-", "--",
	"-rf", "'", `"`,
	"`id`", "$(id)", "${HOME}", `\`, `\n`, `\u0000`, "';DROP", "--x", "a_b", "a%b", "!events", "!hb:x", "null", "0", "1e9",
	"<b>", "(*)", "|", "^$", "a,b", "@", "con", "__proto__", strings.Repeat("x", 257), strings.Repeat("x", 4096),
	strings.Repeat("x", 4095) + "y", strings.Repeat("../", 1365),
}

// nastyID: every legal id works like any other.
func nastyID(e *env) {
	sessions := map[string]*session.Session{}
	for i, id := range nastyIDs {
		if len(id) > 3 { // a shorter one may be in an error's text by accident
			e.secret(id)
		}
		e.gone(id, "of an absent id "+strconv.Quote(id))
		s := session.New(id).With("n", strconv.Itoa(i))
		if err := e.Storage.Store(e.ctx, s); err != nil {
			e.Errorf("Store, id %q: %v", id, err)
			continue
		}
		sessions[id] = s
	}
	check := func() {
		e.Helper()
		for id, s := range sessions {
			got, err := e.Storage.Load(e.ctx, id)
			if err != nil {
				e.Errorf("Load, id %q: %v", id, err)
				continue
			}
			e.same("session "+strconv.Quote(id), got, s)
		}
	}
	check()
	for i, id := range nastyIDs {
		if i%2 == 0 && sessions[id] != nil {
			e.delete(id)
			e.gone(id, "of a deleted id "+strconv.Quote(id))
			delete(sessions, id)
		}
	}
	check()
}

// noise returns n bytes that no codec can compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// tooLarge: a session over the limit is refused, and the stored one stays as it is.
func tooLarge(e *env) {
	if e.MaxSize < 0 {
		e.Skipf("Subject.MaxSize is negative: the storage has no limit")
	}
	old := e.stored()
	data := noise(e.MaxSize + 1)
	value := strings.Repeat("x", e.MaxSize+1)
	for _, op := range e.writes() {
		s := e.fresh().WithData(data)
		e.fails(op.name+" of a session over the limit", op.call(e.ctx, s), session.ErrTooLarge)
		if s.Revision() != 0 {
			e.Errorf("a failed %s set the revision to %d", op.name, s.Revision())
		}
		e.gone(s.ID(), "after a refused "+op.name)
		s = e.fresh().With("k", value)
		e.fails(op.name+" of a session with metadata over the limit", op.call(e.ctx, s), session.ErrTooLarge)
	}
	e.fails("Store of a session over the limit", e.Storage.Store(e.ctx, old.WithData(data)), session.ErrTooLarge)
	e.untouched("a refused Store", old)
}

// large: a session well below the limit is stored whole.
func large(e *env) {
	size := e.MaxSize / 2
	if e.MaxSize < 0 {
		size = defaultMaxSize
	}
	s := e.fresh().WithData(noise(size))
	e.store(s)
	e.untouched("storing a large session", s)
	small := s.WithData(nil)
	e.store(small)
	e.untouched("making a large session small", small)
}
