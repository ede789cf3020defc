package session

import (
	"sync/atomic"
	"unsafe"
)

// uses is when hits used each entry of a small tier last. Every hit notes that, however short ago the last one was. If
// it did so in the entry, processors would take its cache line from each other all the time, and wait for it. Here each
// has a stripe of its own, mostly, and the latest use is that of all stripes.
type uses struct {
	at     []atomic.Int64 // instants, by stripe and slot
	stride int            // from a stripe to the next: whole cache lines
	free   []int          // the slots that no entry has; guarded by RoutingStorage.mu
}

const useStripes = 8 // few, as they take memory, and whoever makes room looks at all of them

func newUses(maxEntries int) *uses {
	const perLine = cacheLine / int(unsafe.Sizeof(atomic.Int64{}))
	u := &uses{stride: (maxEntries + perLine - 1) / perLine * perLine}
	u.at = make([]atomic.Int64, useStripes*u.stride)
	for slot := range maxEntries {
		u.free = append(u.free, slot)
	}
	return u
}

// here is where a hit notes the use of an entry.
func (u *uses) here(slot int) *atomic.Int64 {
	return &u.at[useStripe(stripe())*uint(u.stride)+uint(slot)]
}

func useStripe(stripe uint) uint { return (stripe ^ stripe>>3) % useStripes }

func (u *uses) latest(slot int) instant {
	var latest int64
	for ; slot < len(u.at); slot += u.stride {
		latest = max(latest, u.at[slot].Load())
	}
	return instant(latest)
}

// takeLocked returns a slot for an entry that is put now: the one that was given back last, so that an entry keeps the
// slot of the one that it replaces, and its uses. For any other entry it does not matter what is noted there already,
// and what hits on the previous one have yet to note: all that was before this entry was put.
func (u *uses) takeLocked() int {
	last := len(u.free) - 1
	slot := u.free[last]
	u.free = u.free[:last]
	return slot
}

func (u *uses) giveBackLocked(slot int) { u.free = append(u.free, slot) }
