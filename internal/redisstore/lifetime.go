package redisstore

import (
	"fmt"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

// Lifetime says when a value is gone.
type Lifetime struct {
	Idle time.Duration // how long it lives without a use; 0: the store's TTL; negative: for ever
	End  time.Time     // when it is gone in any case; zero: never
}

// longest is the longest time that a key lives after a use, 278 years. header.lua has it, too.
const longest = 1 << 43 * time.Millisecond

const errEndless = errs.SafeError("a value needs an idle time or an end")

// endless reports whether the value would never be gone.
func (l Lifetime) endless() bool { return l.Idle < 0 && l.End.IsZero() }

// text returns the two fields of a header. An idle time is rounded up to whole milliseconds, an end down.
func (l Lifetime) text() string {
	idle := inMilliseconds(l.Idle)
	if l.Idle < 0 {
		idle = maxTime
	}
	var end int64
	if !l.End.IsZero() {
		end = min(max(l.End.UnixMilli(), 1), maxTime)
	}
	return fmt.Sprintf("%012x%012x", idle, end)
}

// inMilliseconds rounds up: what is not 0 must not become 0, and no use may seem later than it was.
func inMilliseconds(d time.Duration) int64 {
	n := d.Milliseconds()
	if d%time.Millisecond > 0 {
		n++
	}
	return n
}
