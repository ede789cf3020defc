package nearcache

import (
	"math"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// idle returns how long the source keeps a value that is not used: the value's own idle lifetime, or else the source's
// TTL. It is 0 if that is not known, and negative if the value has no idle lifetime and ends at its ExpiresAt only.
func (c *Cache[V]) idle(value *V) time.Duration {
	if c.config.Idle != nil {
		if own := c.config.Idle(value); own != 0 {
			return own
		}
	}
	return c.config.TTL
}

// idleEnd returns when a value ends that was used last at the given instant, or never.
func idleEnd(usedAt instant, idle time.Duration) instant {
	if idle <= 0 {
		return never
	}
	return usedAt.add(idle)
}

// pace returns the age at which a copy of a value is renewed, and how long its uses may wait for others. A value with a
// short idle lifetime of its own is renewed more often, or the source would learn of a use when the value is gone.
func (c *Cache[V]) pace(value *V) (refreshAfter, linger time.Duration) {
	refreshAfter, linger = c.config.RefreshAfter, c.refresh.linger
	if idle := c.idle(value); idle > 0 && idle/4 < refreshAfter {
		refreshAfter = max(idle/4, 1)
		linger = min(linger, refreshAfter/lingerShare)
	}
	return refreshAfter, linger
}

// pauses returns those between attempts to tell of a use. With a short idle lifetime they are short, so that the source
// is told in time when it is back before the value ends.
func (c *Cache[V]) pauses(idle time.Duration) backoff.Backoff {
	most := c.config.MaxStaleness / 2
	if idle > 0 {
		most = min(most, max(idle/16, refreshRetry))
	}
	return backoff.Backoff{First: min(refreshRetry, most), Most: most}
}

// anyAge does not limit the age of a flight that a load joins.
const anyAge = time.Duration(math.MaxInt64)

// outlived reports whether the value that a flight has brought may have ended before a load joined the flight. Then
// the load has to ask anew. It could not know that when it joined: only the answer tells the value's idle lifetime.
//  1. A load is sent. The source reads its answer, which is then held up on its way.
//  2. The value is not used for its idle lifetime, and ends.
//  3. A load begins, and joins the flight of step 1, which is younger than MaxStaleness.
func (c *Cache[V]) outlived(f *flight[V], joinedAt instant) bool {
	return joinedAt >= idleEnd(f.startedAt, c.idle(f.value))
}
