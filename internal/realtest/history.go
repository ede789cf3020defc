package realtest

import (
	"slices"
	"sort"
	"sync"
	"time"
)

// history holds the writes of one session. The session has one writer, which numbers its writes: the session that write
// n stores contains n. Every fourth write is a delete.
type history struct {
	id      string
	writers int // the writer uses the first so many replicas in turn

	mu           sync.Mutex // protects following fields
	sent         int        // the last write that was sent
	acknowledged []acknowledgement
}

type acknowledgement struct {
	write   int
	at      time.Time
	replica int
}

// These stand where others have the index of a replica.
const (
	readOnly = -1 - iota // a loader that writes nothing
	byFault              // a fault that removes sessions
)

func deletes(write int) bool { return write%4 == 0 }

func lastDelete(write int) int { return write - write%4 }

func deletedBetween(first, last int) bool {
	for n := first; n <= last; n++ {
		if deletes(n) {
			return true
		}
	}
	return false
}

// begin returns the number of the next write.
func (h *history) begin() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent++
	return h.sent
}

// beginDelete returns the next number of a delete.
func (h *history) beginDelete() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent++
	for !deletes(h.sent) {
		h.sent++
	}
	return h.sent
}

func (h *history) acknowledge(n, replica int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acknowledged = append(h.acknowledged, acknowledgement{n, time.Now(), replica})
}

// age returns how long before an instant a later write than n was acknowledged, or 0 if none was.
func (h *history) age(n int, at time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.acknowledged), func(i int) bool { return h.acknowledged[i].write > n })
	if i == len(h.acknowledged) {
		return 0
	}
	return at.Sub(h.acknowledged[i].at)
}

// oldestAllowed returns the oldest write whose effect a load through a replica may return, if the load begins now.
func (h *history) oldestAllowed(now time.Time, replica int, staleness time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range slices.Backward(h.acknowledged) {
		if a.replica == replica || now.Sub(a.at) > staleness {
			return a.write
		}
	}
	return 0
}

func (h *history) newestPossible() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent
}
