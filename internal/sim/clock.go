package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// Instants are durations since the simulation began.

// lane is one of the classes of instants modulo lanes nanoseconds. Each actor wakes in its own lane, so no two wake at
// the same instant: the order of goroutines that become runnable at the same instant is random.
type lane int64

const (
	lanes = 1 << 12

	faultLane    lane = 0
	clientLane   lane = 1    // one for each client, from here on
	contextLane  lane = 32   // the end of a client's patience; one for each client
	watchLane    lane = 64   // one for each replica, from here on
	deliveryLane lane = 96   // one for each replica
	callLane     lane = 128  // for calls, from here on; each lot has callLanes of them
	patienceLane lane = 1100 // likewise, for the end of their patience
	callLanes         = 900
	fenceLane    lane = 3000 // for calls and messages of fences, from here on; fenceLanes for each replica
	tidyLane     lane = 3100 // one for each replica
	joinLane     lane = 3120 // one for each replica
	fenceLanes        = 16

	// aside is added to the library's own timeouts. They begin in a client's lane, and so end in a lane that no actor
	// uses.
	aside = 2048
	// gatherAside is the same for the pause before a revalidation. Calls may follow it; their timeouts, too, end in lanes
	// that no actor uses.
	gatherAside = 2010
	// A pause that follows from a session's own idle lifetime ends in one of these lanes, see idleLike.
	firstIdleAside, lastIdleAside = 2100, 2900
)

// from returns the first instant of the lane that is not before t.
func (l lane) from(t time.Duration) time.Duration {
	return t + (time.Duration(l)-t)&(lanes-1)
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// at calls f at an instant, on its own goroutine.
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

// stream returns one actor's random numbers. If actors shared a stream, the order in which they draw at the same
// instant would matter.
func stream(seed, actor uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, actor)) }

const (
	configStream = 0
	faultStream  = 1
	// These draws came later than the others, and have streams of their own.
	pressureStream   = 2
	deathStream      = 3
	fenceStream      = 4
	fenceFaultStream = 5
	lifetimeStream   = 6
	missStream       = 7
	ownerStream      = 8
	readsStream      = 9
	shardStream      = 12
	shardFaultStream = 13
	shardsStream     = 14
	refusalStream    = 1 << 7  // one for each replica, from here on
	clientStream     = 1 << 8  // one for each client, from here on
	readStream       = 1 << 9  // one for each client, from here on: which of its loads are others' reads
	earlyStream      = 1 << 10 // one for each replica, from here on
	lifeStream       = 1 << 11 // one for each client, from here on: the idle lifetimes of its sessions
	revokeStream     = 1 << 12 // one for each client, from here on
	linkStream       = 1 << 16 // one for each lot, from here on
	fenceLots        = 1 << 18 // one for each replica, from here on
	joinStream       = 1 << 19 // one for each replica, from here on
)

// upTo returns a random duration between 1 ns and d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return 1 + time.Duration(rng.Int64N(int64(d)))
}

// skewed returns a random duration between 1 ns and d, a short one more often than a long one.
func skewed(rng *rand.Rand, d time.Duration) time.Duration { return upTo(rng, upTo(rng, d)) }

func chance(rng *rand.Rand, p float64) bool { return rng.Float64() < p }

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }
