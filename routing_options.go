package session

import (
	"fmt"
	"log/slog"
	"time"
)

const (
	defaultMaxStaleness       = 2 * time.Second
	minMaxStaleness           = time.Millisecond
	defaultRefreshAfter       = time.Minute
	defaultLoadTimeout        = 2 * time.Second
	defaultRefreshConcurrency = 16
)

// RoutingOption configures a [RoutingStorage].
type RoutingOption interface{ applyRouting(r *RoutingStorage) }

type routingOption func(r *RoutingStorage)

func (o routingOption) applyRouting(r *RoutingStorage) { o(r) }

// WithMaxStaleness sets the bound on stale reads: when a Store or Delete has returned, through any replica, no load
// that starts this much later returns older state. 0 means the default, 2 s. It panics when d is negative, or
// less than a millisecond.
func WithMaxStaleness(d time.Duration) RoutingOption {
	d = positiveOr("WithMaxStaleness", d, defaultMaxStaleness)
	if d < minMaxStaleness {
		panic(fmt.Sprintf("session: WithMaxStaleness(%v): must be at least %v, no proof comes that fast", d, minMaxStaleness))
	}
	return routingOption(func(r *RoutingStorage) { r.maxStaleness = d })
}

// WithRefreshAfter sets how old an entry gets before a hit renews it in the background, which is also what keeps the
// session alive in the remote. 0 means the default: an eighth of the remote's TTL, and at most a minute. It is never
// more than a quarter of the TTL. While entries are bounded by their age, they are renewed after half of MaxStaleness
// if that is sooner. It panics when d is negative.
//
// If the remote is a [Revalidator], entries that are due at about the same time are renewed together, some of them a
// little early: by up to a 64th of d, or a quarter of MaxStaleness if that is less.
func WithRefreshAfter(d time.Duration) RoutingOption {
	d = positiveOr("WithRefreshAfter", d, 0)
	return routingOption(func(r *RoutingStorage) { r.refreshAfter = d })
}

// WithLoadTimeout sets how long a load waits for the remote at most, whatever the caller's context allows: the load is
// shared with others, and goes on when a caller gives up. After that it fails with [ErrUnavailable]. 0 means the
// default, 2 s. It panics when d is negative.
func WithLoadTimeout(d time.Duration) RoutingOption {
	d = positiveOr("WithLoadTimeout", d, defaultLoadTimeout)
	return routingOption(func(r *RoutingStorage) { r.loadTimeout = d })
}

// WithLogger sets where changes between the modes of [Stats] are logged, one line for each; never an id, never anything
// else. The default, also for nil, is slog.Default().
func WithLogger(logger *slog.Logger) RoutingOption {
	if logger == nil {
		logger = slog.Default()
	}
	return routingOption(func(r *RoutingStorage) { r.logger = logger })
}

// WithRefreshConcurrency sets how many refreshes may be under way in the background at a time; one that renews many
// entries together counts as one. Those beyond it wait. 0 means the default, 16. It panics when n is negative.
func WithRefreshConcurrency(n int) RoutingOption {
	if n < 0 {
		panic(fmt.Sprintf("session: WithRefreshConcurrency(%d): cannot be negative", n))
	}
	if n == 0 {
		n = defaultRefreshConcurrency
	}
	return routingOption(func(r *RoutingStorage) { r.refresher.limit = n })
}

func positiveOr(option string, d, fallback time.Duration) time.Duration {
	if d < 0 {
		panic(fmt.Sprintf("session: %s(%v): cannot be negative", option, d))
	}
	if d == 0 {
		return fallback
	}
	return d
}

// refreshInterval is the refresh-ahead interval for a remote's TTL, which is 0 if it is not known. It is smaller than
// any TTL: a session that is loaded steadily is renewed in the remote three times before it could expire there.
func refreshInterval(asked, ttl time.Duration) time.Duration {
	interval := asked
	if interval == 0 {
		interval = defaultRefreshAfter
		if ttl > 0 {
			interval = min(interval, ttl/8)
		}
	}
	if ttl > 0 {
		interval = min(interval, ttl/4)
	}
	return max(interval, 1)
}
