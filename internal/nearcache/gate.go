package nearcache

import (
	"container/list"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// gate decides which loads ask the source: as many at a time as LoadConcurrency allows, in the order in which they
// came, and in an outage one probe at a time. Guarded by Cache.mu.
//
// An outage begins when a load has waited for the source in vain, and nothing came back from the source since that load
// was sent: no answer to another call, no proof of the watcher. From then on loads fail at once, so that callers do not
// pile up. The outage ends with the first answer to anything. An error that comes back quickly holds up no caller: it
// begins no outage, and ends one. So a part of the source that is away does not keep the rest from being asked, when
// its values happen to be the probes.
type gate struct {
	sent    int       // loads that have not returned
	waiting list.List // of flights that are not sent

	heardAt   instant       // when the latest call or proof was sent that came back
	unheardAt instant       // when the latest load that has failed was sent, or a watch that did not reach the source
	answered  bool          // the source has answered a call once
	slowest   time.Duration // how long answers took lately

	outage       bool
	since        instant // when the call was sent whose failure began the outage
	probing      bool
	probeAt      instant // a load that begins then is the next probe
	probeTimeout time.Duration
}

const (
	// slowFailure is how long a load must have waited in vain to begin an outage.
	slowFailure = 100 * time.Millisecond
	// A probe begins probePause after the last one failed, or up to half of that earlier. It waits for minProbeTimeout,
	// and longer where answers took longer. So the end of an outage is noticed within a second.
	probePause      = 400 * time.Millisecond
	minProbeTimeout = 500 * time.Millisecond
	// A use is a probe only if no load was for so long. Otherwise the use of a value about which the source never
	// answers would always come first.
	probeYield = probePause / 2
	// outageMemory is how long an outage is remembered after a probe was due that did not come.
	outageMemory = 500 * time.Millisecond
)

// admits reports whether a load may ask the source now. An outage that no probe has confirmed for a while is forgotten:
// the first loads after a quiet time shall not fail because one of them is the probe.
func (g *gate) admits(now instant) bool {
	if g.outage && !g.probing && now >= g.probeAt.add(outageMemory) {
		g.outage = false
	}
	return !g.outage || !g.probing && now >= g.probeAt
}

// admitsUse reports whether the source may be told of a use now.
func (g *gate) admitsUse(now instant) bool {
	return g.admits(now) && (!g.outage || now >= g.probeAt.add(probeYield))
}

// beginProbe returns how long the probe may take.
func (g *gate) beginProbe() time.Duration {
	g.probing = true
	return max(minProbeTimeout, 2*g.slowest, g.probeTimeout)
}

// endProbeLocked sets the time of the next probe.
func (c *Cache[V]) endProbeLocked() {
	g := &c.gate
	g.probing = false
	g.probeAt = c.clock.now().add(backoff.Jitter(probePause))
	if !g.answered { // it is not known how long the source may need
		g.probeTimeout = max(minProbeTimeout, 2*g.probeTimeout)
	}
	c.armLocked() // the next one may be a use
}

// queueLocked lets a flight wait for its turn.
func (c *Cache[V]) queueLocked(f *flight[V]) {
	f.place = c.gate.waiting.PushBack(f)
	c.stats.queued.Add(1)
}

func (c *Cache[V]) unqueueLocked(f *flight[V]) {
	if f.place != nil {
		c.gate.waiting.Remove(f.place)
		f.place = nil
	}
}

// sendWaitingLocked sends the flights that wait for their turn, as far as there is room.
func (c *Cache[V]) sendWaitingLocked() {
	for c.gate.sent < c.config.LoadConcurrency && c.gate.waiting.Len() > 0 && !c.closed {
		if together := c.takeTogetherLocked(); len(together) > 1 {
			c.sendTogetherLocked(together)
			continue
		}
		f, _ := c.gate.waiting.Front().Value.(*flight[V])
		c.unqueueLocked(f)
		if f.ctx.Err() == nil {
			c.sendLocked(f)
		}
	}
}

// rejectWaitingLocked ends the flights that wait for their turn.
func (c *Cache[V]) rejectWaitingLocked(err error) {
	for c.gate.waiting.Len() > 0 {
		f, _ := c.gate.waiting.Front().Value.(*flight[V])
		c.rejectLocked(f, err)
		f.cancel(nil)
	}
}

// heardLocked takes in that the source has answered what was sent at the given instant.
func (c *Cache[V]) heardLocked(sentAt instant) {
	g := &c.gate
	g.heardAt = max(g.heardAt, sentAt)
	if g.outage && sentAt > g.since { // not by an answer or a proof that was late
		c.endOutageLocked()
	}
}

func (c *Cache[V]) endOutageLocked() {
	g := &c.gate
	g.outage, g.probing, g.probeTimeout = false, false, 0
	c.armLocked() // uses wait to be told
}

// answeredLocked takes in that the source has answered a call.
func (c *Cache[V]) answeredLocked(sentAt instant) {
	c.heardLocked(sentAt)
	c.gate.answered = true
	c.gate.slowest = max(time.Duration(c.clock.now()-sentAt), c.gate.slowest-c.gate.slowest/8)
	c.stats.staleAt.Store(0)
}

// unansweredLocked takes in that a call that was sent at the given instant has failed without an answer. It begins an
// outage only if it has waited for twice as long as answers took lately. A load that had to wait for its turn has less
// time left than that, and proves nothing when it is over:
//  1. Many loads wait for a source that is slow, and answers.
//  2. One is sent when its LoadTimeout is nearly over, and is given up before the answer comes.
//  3. An outage would begin, and all loads that wait would fail.
func (c *Cache[V]) unansweredLocked(sentAt instant, probe bool) {
	g := &c.gate
	took := time.Duration(c.clock.now() - sentAt)
	quick := took < min(slowFailure, c.config.LoadTimeout)
	switch {
	case c.closed: // which has ended the call; loads that wait are to learn of that, and not of an outage
	case probe && quick:
		c.endOutageLocked()
	case probe:
		c.endProbeLocked()
	case g.outage, g.heardAt >= sentAt, took < min(max(slowFailure, 2*g.slowest), c.config.LoadTimeout):
	default:
		g.outage, g.since = true, sentAt
		c.endProbeLocked()
		c.rejectWaitingLocked(ErrOutage)
	}
}
