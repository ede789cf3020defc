package nearcache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/seed34611480/session/internal/backoff"
)

// news is for the log: whether something works. What comes and goes does not flood the log.
type news struct {
	latest  atomic.Pointer[condition] // the log may not have been told yet
	changed chan struct{}             // holds one element when there is something to tell
}

// condition says whether something works, and if not, why.
type condition struct {
	works bool
	err   error
}

const (
	// newsInterval is the least time between two lines.
	newsInterval = time.Second
	// newsBurst lines may come that fast. From then on, there is one per newsRefill.
	newsBurst  = 10
	newsRefill = time.Minute
)

func newNews() *news { return &news{changed: make(chan struct{}, 1)} }

// works reports whether it has worked when that was last known.
func (n *news) works() bool {
	latest := n.latest.Load()
	return latest != nil && latest.works
}

// note takes in whether it works. Nothing waits for the log.
func (n *news) note(works bool, err error) {
	if latest := n.latest.Load(); latest != nil && latest.works == works {
		return
	}
	n.latest.Store(&condition{works: works, err: err})
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// announce calls tell once for each change that lasts for settle: an outage of an hour is two calls. It needs a
// goroutine of its own until ctx ends. announced is what the log knows already; nil for nothing.
func (n *news) announce(ctx context.Context, settle time.Duration, announced *condition, tell func(bool, error)) {
	c := newClock()
	var full instant // when newsBurst lines may come again
	for {
		select {
		case <-n.changed:
		case <-ctx.Done():
			return
		}
		if backoff.Sleep(ctx, settle) != nil {
			return
		}
		latest := n.latest.Load()
		if announced != nil && announced.works == latest.works {
			continue
		}
		announced = latest
		tell(latest.works, latest.err)
		now := c.now()
		full = max(full, now).add(newsRefill)
		if backoff.Sleep(ctx, max(newsInterval, time.Duration(full-now)-newsBurst*newsRefill)) != nil {
			return
		}
	}
}
