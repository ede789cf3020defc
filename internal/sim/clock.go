package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// Instants are durations since the simulation began.

// lane is one of the classes of instants modulo lanes nanoseconds. Everybody wakes in a lane of its own, so no two wake
// at the same instant: the order of goroutines that are runnable at the same time is not determined.
type lane int64

const (
	lanes = 1 << 12

	faultLane    lane = 0
	clientLane   lane = 1    // and following, by client
	contextLane  lane = 32   // the end of a client's patience; likewise
	watchLane    lane = 64   // and following, by replica
	deliveryLane lane = 96   // likewise
	callLane     lane = 128  // and following, by call; each lot has some of these callLanes
	patienceLane lane = 1100 // likewise
	callLanes         = 900

	// aside is added to the library's own time-outs. They begin in a client's lane, and so end in a lane that is nobody's.
	aside = 2048
	// gatherAside is the same for the pause before a revalidation. Calls may follow it, whose time-outs end in lanes that
	// are nobody's, too.
	gatherAside = 2010
)

// from returns the first instant of the lane that is not before t.
func (l lane) from(t time.Duration) time.Duration {
	return t + (time.Duration(l)-t)&(lanes-1)
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// at calls f at an instant, on a goroutine of its own.
func (w *world) at(t time.Duration, f func()) { time.AfterFunc(t-w.now(), f) }

// sleep waits for an instant, and reports false if the context ends first.
func (w *world) sleep(ctx context.Context, until time.Duration) bool {
	timer := time.NewTimer(until - w.now())
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// stream returns one actor's source of chance. Had they one in common, the order in which they draw at the same instant
// would matter.
func stream(seed, actor uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, actor)) }

const (
	configStream = 0
	faultStream  = 1
	clientStream = 1 << 8  // and following, by client
	linkStream   = 1 << 16 // and following, by lot
)

// upTo returns a random duration between 1 ns and d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return 1 + time.Duration(rng.Int64N(int64(d)))
}

// skewed returns a random duration between 1 ns and d, a short one more often than a long one.
func skewed(rng *rand.Rand, d time.Duration) time.Duration { return upTo(rng, upTo(rng, d)) }

func chance(rng *rand.Rand, p float64) bool { return rng.Float64() < p }

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }
