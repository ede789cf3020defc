package nearcache

import (
	"crypto/sha256"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// absence remembers for which ids the source has answered that it has no value, so that a flood of loads of unknown ids
// does not reach it. It has a bounded space of its own: no copy makes room for it. The zero value remembers nothing.
// Guarded by Cache.mu.
//
// Its answers obey the serving rule of copies: "there is none" is served while it is younger than MaxStaleness, or
// under the lease of its epoch, and never for longer than a copy would be served without being renewed. A change of the
// id, through any replica, ends it, as does a copy. A call that was sent before a change became known leaves nothing:
//  1. A load is sent. The source reads its answer: there is no value.
//  2. The value is created elsewhere, and the event arrives here. There is nothing to forget yet.
//  3. The answer of step 1 arrives, and would be remembered: no event will end it.
//
// The look-up is on the way of a miss. Hits do not come here.
type absence struct {
	byID *simplelru.LRU[digest, absent] // the least recently asked for makes room; nil: off
}

// digest stands for an id of any length. An id is a secret, too, and need not be kept.
type digest [sha256.Size]byte

type absent struct {
	askedAt instant // before the source was asked
	epoch   uint64  // likewise
}

func newAbsence(most int) (a absence) {
	if most > 0 {
		a.byID, _ = simplelru.NewLRU[digest, absent](most, nil) // no error: the size is positive
	}
	return a
}

func (a *absence) len() int {
	if a.byID == nil {
		return 0
	}
	return a.byID.Len()
}

func (a *absence) forget(id string) {
	if a.len() > 0 { // the usual case costs an event no digest
		a.byID.Remove(sha256.Sum256([]byte(id)))
	}
}

// absentLocked reports whether the source is known to have no value of an id.
func (c *Cache[V]) absentLocked(id string, now instant) bool {
	if c.absence.len() == 0 {
		return false
	}
	a, ok := c.absence.byID.Get(sha256.Sum256([]byte(id)))
	if !ok || now >= a.askedAt.add(max(c.config.RefreshAfter, c.config.MaxStaleness)) {
		return false
	}
	return now < a.askedAt.add(c.young) || c.lease.Load().covers(a.epoch, now)
}

// rememberLocked takes in that the source has answered a flight that there is no value. Another flight, which was sent
// later, may have brought one: then the source has executed the two in either order.
func (c *Cache[V]) rememberLocked(f *flight[V], copied *entry[V]) {
	switch {
	case c.absence.byID == nil, f.revoked, f.knownRevision > 0:
	case copied != nil && copied.fetchedAt > f.startedAt:
	default:
		c.absence.byID.Add(sha256.Sum256([]byte(f.id)), absent{askedAt: f.startedAt, epoch: f.epoch})
	}
}
