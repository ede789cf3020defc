package mcphttp

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed34611480/session/internal/errs"
)

const (
	defaultDeadAfter = 2 * time.Second

	// leastRefusals is how many connections a dead host has refused at least: two could be the first and the last moment
	// of a restart.
	leastRefusals = 3

	// maxTroubles is how many hosts are known to fail. Those of removed backends come from the storage.
	maxTroubles = 1024
)

// health knows the hosts that cannot be dialled. One that can, or was never tried, has no entry.
//
// A host is dead when it has refused connections for a while, and taken none meanwhile: its machine says that no
// process listens there, so the process that had the sessions has gone. Nothing else is a proof. A dial that times
// out, or finds no route or no name, may come from a cut network, behind which the sessions are alive.
type health struct {
	deadAfter time.Duration
	logger    *slog.Logger

	some atomic.Int64 // len(hosts), to be read without the lock: normally there are none

	mu    sync.Mutex // protects following fields
	hosts map[string]*trouble
	told  map[string]time.Time // see tell
}

// trouble is what is known of a host that cannot be dialled.
type trouble struct {
	rows        int // of refusals, with a long pause before each
	refusals    int // in the latest row
	first, last time.Time
	nextTrial   time.Time
	dead        bool
}

func newHealth(deadAfter time.Duration, logger *slog.Logger) *health {
	if deadAfter == 0 {
		deadAfter = defaultDeadAfter
	}
	return &health{
		deadAfter: deadAfter, logger: logger, hosts: make(map[string]*trouble), told: make(map[string]time.Time),
	}
}

// mayDial reports whether a host has no trouble, or is to be tried once more: it is true for one caller in each
// quarter of deadAfter.
func (h *health) mayDial(host string) bool {
	if h.some.Load() == 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.hosts[host]
	return t == nil || h.trialLocked(t)
}

// isDead reports whether a host is dead, and not to be tried once more.
func (h *health) isDead(host string) bool {
	if h.some.Load() == 0 {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.hosts[host]
	return t != nil && t.dead && !h.trialLocked(t)
}

func (h *health) trialLocked(t *trouble) bool {
	now := time.Now()
	if now.Before(t.nextTrial) {
		return false
	}
	t.nextTrial = now.Add(h.deadAfter / 4)
	return true
}

// taken notes that a host has taken a connection, or had one.
func (h *health) taken(host string) {
	if h.some.Load() == 0 {
		return
	}
	h.mu.Lock()
	t := h.hosts[host]
	delete(h.hosts, host)
	h.some.Store(int64(len(h.hosts)))
	h.mu.Unlock()
	if t != nil && t.dead {
		h.logger.Info("mcphttp: a backend takes connections again", "host", host)
	}
}

// failed notes that a host could not be dialled, and reports whether it is dead.
func (h *health) failed(host string, err error) (dead bool) {
	h.mu.Lock()
	wasDead, dead := h.failedLocked(host, err)
	h.mu.Unlock()
	switch {
	case dead && !wasDead:
		h.logger.Warn("mcphttp: a backend is dead: it refuses connections", "host", host)
	case !dead && !isRefusal(err):
		h.tell("mcphttp: a backend cannot be reached", host, err)
	}
	return dead
}

func (h *health) failedLocked(host string, err error) (wasDead, dead bool) {
	now := time.Now()
	t := h.hosts[host]
	if t == nil {
		h.makeRoomLocked(now)
		t = new(trouble)
		h.hosts[host] = t
		h.some.Store(int64(len(h.hosts)))
	}
	wasDead = t.dead
	if now.Sub(t.last) > h.pause() {
		// It may have been alive meanwhile, and this be the first moment of a restart: what was known counts as one refusal.
		// Without that, a client that is alone and tries once a minute would get 503 for ever.
		t.refusals, t.dead = 0, false
	}
	t.last, t.nextTrial = now, now.Add(h.deadAfter/4)
	switch {
	case t.dead:
	case !isRefusal(err):
		t.rows, t.refusals = 0, 0
	case t.refusals == 0:
		t.rows, t.refusals, t.first = t.rows+1, 1, now
		t.dead = t.rows >= leastRefusals
	default:
		t.refusals++
		t.dead = t.refusals >= leastRefusals && now.Sub(t.first) >= h.deadAfter
	}
	return wasDead, t.dead
}

// unanswered notes that a host has taken a request, and not answered it.
func (h *health) unanswered(host string, err error) {
	h.tell("mcphttp: a backend does not answer", host, err)
}

// tellPause is the least time between two lines about one host.
const tellPause = time.Minute

// tell logs a failure of a host, unless one of it was logged just now: each of its requests may have it.
func (h *health) tell(text, host string, err error) {
	h.mu.Lock()
	now := time.Now()
	seldom := now.Sub(h.told[host]) >= tellPause
	if seldom {
		if len(h.told) >= maxTroubles {
			clear(h.told)
		}
		h.told[host] = now
	}
	h.mu.Unlock()
	if seldom {
		h.logger.Warn(text, "host", host, "error", errs.Shown(err))
	}
}

// pause is how long a host was not dialled when what was known of it is old.
func (h *health) pause() time.Duration { return 8 * h.deadAfter }

func (h *health) makeRoomLocked(now time.Time) {
	if len(h.hosts) < maxTroubles {
		return
	}
	for host, t := range h.hosts {
		if now.Sub(t.last) > h.pause() {
			delete(h.hosts, host)
		}
	}
	for host := range h.hosts {
		if len(h.hosts) < maxTroubles {
			return
		}
		delete(h.hosts, host)
	}
}

func isRefusal(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isDial reports whether a request failed before anything of it was sent.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
